/**
 * Each lock of src/locking taken and given back again and again with nothing under it, by one agent or by several at once.
 *
 * Can show: what taking and giving back costs, next to the two atomic operations that no lock gets by without. Cannot show: what a lock
 * costs whose holder works, where waits are long and the memory between is used.
 */
import { Order, add32, load32, now, type Op, type Word } from '#port';
import { Mutex } from '../locking/mutex.ts';
import { Rcu } from '../locking/rcu.ts';
import { RwLock } from '../locking/rw-lock.ts';
import { SeqCount } from '../locking/seq-count.ts';
import { SpinLock } from '../locking/spin-lock.ts';
import { Srcu } from '../locking/srcu.ts';
import { STATISTICS } from './statistics.ts';

/** What is done in each round: `atomics` is two additions to one word, the yardstick. */
export const LOCK_PRIMITIVES = [
  'atomics',
  'spin',
  'mutex',
  'rw-read',
  'rw-write',
  'seqcount-read',
  'seqcount-write',
  'srcu-read',
  'rcu-read',
] as const;
export type LockPrimitive = (typeof LOCK_PRIMITIVES)[number];

/** One agent's part of a batch. */
export interface LockBatch {
  readonly agent: number;
  readonly agents: number;
  readonly primitive: LockPrimitive;
  readonly rounds: number;
}

/** Where things lie in a memory of {@link LOCK_BENCH_BYTES} bytes. */
export const LOCK_BENCH_BYTES: number = 2 ** 20;
const AT = { stop: 128, arrived: 256, sequence: 384, lock: 1024, statistics: 65_536 } as const;

/** What the engine is attached to. */
export const LOCK_BENCH_STOP: Word = AT.stop;
export const lockBenchStatistics = (agent: number): Word =>
  AT.statistics + agent * STATISTICS.bytes;

/** Nanoseconds of this agent's rounds, from when all have come. The memory is zeroed before. */
export function* runLockBatch(batch: LockBatch): Op<number> {
  yield* meet(batch.agents);
  const since = now();
  yield* perform(batch);
  return now() - since;
}

/** Spins, so that all begin at once. */
function* meet(agents: number): Op<void> {
  yield* add32(AT.arrived, 1, Order.full);
  let arrived = 0;
  while (arrived < agents) arrived = yield* load32(AT.arrived, Order.acquire);
}

function* perform({ agent, agents, primitive, rounds }: LockBatch): Op<void> {
  const { locks, rwLocks, slotsLock, slotsSrcu } = STATISTICS;
  switch (primitive) {
    case 'atomics':
      yield* atomics(rounds);
      break;
    case 'spin':
      yield* spin(new SpinLock(AT.lock, agents, locks.mmu_lock), rounds);
      break;
    case 'mutex':
      yield* mutex(new Mutex(AT.lock, agents, slotsLock), rounds);
      break;
    case 'rw-read':
      yield* read(new RwLock(AT.lock, agents, rwLocks.mmap_lock), rounds);
      break;
    case 'rw-write':
      yield* write(new RwLock(AT.lock, agents, rwLocks.mmap_lock), rounds);
      break;
    case 'seqcount-read':
      yield* readCounted(sequenceCount(), rounds);
      break;
    case 'seqcount-write':
      yield* writeCounted(sequenceCount(), new SpinLock(AT.lock, agents, locks.mmu_lock), rounds);
      break;
    case 'srcu-read':
      yield* section(new Srcu({ at: AT.lock, agents, agent, statistics: slotsSrcu }), rounds);
      break;
    case 'rcu-read':
      yield* section(new Rcu({ at: AT.lock, agents, agent, statistics: slotsSrcu }), rounds);
      break;
  }
}

function* atomics(rounds: number): Op<void> {
  for (let round = 0; round < rounds; round++) {
    yield* add32(AT.lock, 1, Order.acquire);
    yield* add32(AT.lock, -1, Order.release);
  }
}

function* spin(lock: SpinLock, rounds: number): Op<void> {
  for (let round = 0; round < rounds; round++) {
    yield* lock.lock();
    yield* lock.unlock();
  }
}

function* mutex(lock: Mutex, rounds: number): Op<void> {
  for (let round = 0; round < rounds; round++) {
    yield* lock.lock();
    yield* lock.unlock();
  }
}

function* read(lock: RwLock, rounds: number): Op<void> {
  for (let round = 0; round < rounds; round++) {
    yield* lock.readLock();
    yield* lock.readUnlock();
  }
}

function* write(lock: RwLock, rounds: number): Op<void> {
  for (let round = 0; round < rounds; round++) {
    yield* lock.writeLock();
    yield* lock.writeUnlock();
  }
}

function* readCounted(sequence: SeqCount, rounds: number): Op<void> {
  for (let round = 0; round < rounds; round++) {
    const begun = yield* sequence.readBegin();
    yield* sequence.readRetry(begun);
  }
}

/** Under the lock that keeps writers apart, as a writer has to be. */
function* writeCounted(sequence: SeqCount, lock: SpinLock, rounds: number): Op<void> {
  for (let round = 0; round < rounds; round++) {
    yield* lock.lock();
    yield* sequence.writeBegin();
    yield* sequence.writeEnd();
    yield* lock.unlock();
  }
}

function* section(domain: Srcu | Rcu, rounds: number): Op<void> {
  for (let round = 0; round < rounds; round++) {
    yield* domain.readLock();
    yield* domain.readUnlock();
  }
}

/** No run has a sequence count: it counts in the row of another lock. */
function sequenceCount(): SeqCount {
  const { waitTotalNs: reads, holdTotalNs: retries } = STATISTICS.slotsLock;
  return new SeqCount(AT.sequence, { reads, retries });
}
