import { beforeEach, describe, expect, test } from 'vitest';
import { Order, drive, load32, type Op } from '#port';
import type { Pending, Scheduler } from '../../src/engine/execution.ts';
import { EventKind, LockMode } from '../../src/engine/events.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { RwLock, type RwMode } from '../../src/locking/rw-lock.ts';
import { readRounds, writeRounds } from '../fixtures/threads-locking/agents.ts';
import { AT, READ_WRITE_STATISTICS } from '../fixtures/threads-locking/layout.ts';
import { Recorder, disturb, execute, play, sandbox, type Recorded } from '../support/executions.ts';
import { countedFor, type Counted } from '../support/lock-statistics.ts';

const STATE = AT.lock;
const INSIDE = AT.lock + 128;
const RELEASED = AT.lock + 256;
const TICKETS = AT.lock + 384;
const SERVED = AT.lock + 512;
const SLOT = [0, 1, 2, 3].map((slot) => AT.lock + 640 + slot * 128);
/** What an agent adds to the state. */
const READER = 1;
const WRITER = 1 << 15;
const PHASE = 1 << 30;

let memory: ExploreMemory;
beforeEach(() => {
  memory = sandbox();
});

function lockFor(agents: number): RwLock {
  return new RwLock(AT.lock, agents, READ_WRITE_STATISTICS);
}

function reader(agents: number, rounds: number): () => Op<void> {
  const lock = lockFor(agents);
  return function* (): Op<void> {
    if ((yield* readRounds(lock, AT.counter, rounds)) > 0) throw new Error('torn');
  };
}

function writer(agents: number, rounds: number): () => Op<void> {
  const lock = lockFor(agents);
  return () => writeRounds(lock, AT.counter, rounds);
}

/** What an agent that waits for the lock has seen so far. */
interface Arrival {
  readonly isReader: boolean;
  /** Writes that began meanwhile. */
  writes: number;
  /** As the writer at its turn: the readers that arrived later. */
  laterReaders: Set<number> | null;
}

/** Replays the events of an execution: who is inside, and who overtakes whom. */
class Watch {
  readonly #arrivals = new Map<number, Arrival>();
  readonly #inside = new Map<number, number>();
  /** Writers in the order of their tickets; turns granted. */
  readonly #tickets: number[] = [];
  #granted = 0;
  readersTogether = 0;
  /** The most writes that a reader saw begin, and a writer. */
  readonly writesBefore = { read: 0, write: 0 };

  constructor(events: readonly Recorded[]) {
    for (const event of events) this.#on(event);
    if (this.#inside.size > 0) throw new Error('an agent ended inside');
  }

  #on({ agent, kind, at, old, now }: Recorded): void {
    if (kind === 'add32' && at === STATE) this.#enter(agent, (now[0] - old[0]) | 0, old[0]);
    else if (kind === 'add32' && at === TICKETS) this.#draw(agent);
    else if (kind === 'signal' && SLOT.includes(at) && now[0] - old[0] === 1) this.#grant();
    else if (kind === 'lockAcquired') this.#acquire(agent, now[1]);
    else if (kind === 'lockReleased') this.#inside.delete(agent);
  }

  #enter(agent: number, added: number, found: number): void {
    if (added === READER) {
      this.#arrivals.set(agent, { isReader: true, writes: 0, laterReaders: null });
      for (const other of this.#arrivals.values()) other.laterReaders?.add(agent);
    } else if (added === WRITER) {
      const isFirst = (found & (0x7fff << 15)) === 0;
      const laterReaders = isFirst ? new Set<number>() : null;
      this.#arrivals.set(agent, { isReader: false, writes: 0, laterReaders });
    }
  }

  /** The line begins at the ticket: before it another writer may come and go. */
  #draw(agent: number): void {
    const isGranted = this.#tickets.length < this.#granted;
    this.#tickets.push(agent);
    const laterReaders = isGranted ? new Set<number>() : null;
    this.#arrivals.set(agent, { isReader: false, writes: 0, laterReaders });
  }

  #grant(): void {
    const next = this.#tickets[this.#granted++];
    const arrival = next === undefined ? undefined : this.#arrivals.get(next);
    if (arrival !== undefined) arrival.laterReaders = new Set();
  }

  #acquire(agent: number, mode: number): void {
    const arrival = this.#arrivals.get(agent) as Arrival;
    this.#arrivals.delete(agent);
    const inside = Array.from(this.#inside.values());
    const isAlone = inside.length === 0;
    if (mode === LockMode.exclusive ? !isAlone : inside.includes(LockMode.exclusive)) {
      throw new Error(`agent ${agent} came in beside another one`);
    }
    this.#inside.set(agent, mode);
    this.readersTogether = Math.max(this.readersTogether, this.#inside.size);
    const side: RwMode = arrival.isReader ? 'read' : 'write';
    this.writesBefore[side] = Math.max(this.writesBefore[side], arrival.writes);
    for (const other of this.#arrivals.values()) {
      if (mode === LockMode.exclusive) other.writes++;
      if (other.laterReaders?.has(agent)) throw new Error(`reader ${agent} overtook a writer`);
    }
  }
}

function crew(readers: number, writers: number): (() => Op<void>)[] {
  const agents = readers + writers;
  const contenders = Array.from({ length: agents }, (_, id) =>
    id < readers ? reader(agents, 2) : writer(agents, 3),
  );
  return [...contenders, () => disturb([INSIDE, RELEASED, ...SLOT])];
}

/** Agents that both read and write. */
function mixedCrew(agents: number): (() => Op<void>)[] {
  return Array.from({ length: agents }, () => {
    const lock = lockFor(agents);
    return function* (): Op<void> {
      for (let round = 0; round < 3; round++) {
        yield* writeRounds(lock, AT.counter, 1);
        if ((yield* readRounds(lock, AT.counter, 1)) > 0) throw new Error('torn');
      }
    };
  });
}

/** Random schedules of some agents: the largest of what a watch saw. */
function most(agents: () => (() => Op<void>)[], seeds: number): number[] {
  memory.baseline();
  const found = [0, 0, 0];
  for (let seed = 0; seed < seeds; seed++) {
    memory.restore();
    const { recorder, result } = play(agents(), new RandomScheduler(seed));
    if (result.outcome === 'threw') throw result.error;
    if (result.outcome !== 'completed') throw new Error(`seed ${seed}: ${result.outcome}`);
    const { readersTogether, writesBefore } = new Watch(recorder.events);
    [readersTogether, writesBefore.read, writesBefore.write].forEach((now, i) => {
      found[i] = Math.max(found[i] as number, now);
    });
  }
  return found;
}

describe('under any schedule', () => {
  test('readers are together, writers alone; a reader waits for one write, a writer for each other one', () => {
    expect(most(() => crew(2, 3), 1500)).toEqual([2, 1, 2]);
    expect(memory.words[AT.counter / 4]).toBe(9);
    expect(memory.words[AT.counter / 4 + 1]).toBe(9);
  });

  test('three readers and two writers', () => {
    expect(most(() => crew(3, 2), 1500)).toEqual([3, 1, 1]);
  });

  test('agents that do both', () => {
    expect(most(() => mixedCrew(2), 1000)).toEqual([2, 1, 1]);
    memory = sandbox();
    expect(most(() => mixedCrew(3), 1000)).toEqual([3, 1, 2]);
  });

  test('the lock is what excludes', () => {
    let torn = 0;
    for (let seed = 0; seed < 20; seed++) {
      const nothing = lockFor(2);
      nothing.readLock = function* (): Op<void> {};
      nothing.readUnlock = function* (): Op<void> {};
      const free = function* (): Op<void> {
        torn += yield* readRounds(nothing, AT.counter, 3);
      };
      memory = sandbox();
      play([free, writer(2, 3)], new RandomScheduler(seed));
    }
    expect(torn).toBeGreaterThan(0);
  });
});

/** Until the agent is about to do something to a word. */
function before(agent: number, kind: EventKind, at: number): ScriptLine {
  return { agent, until: (pending: Pending) => pending.kind === kind && pending.at === at };
}

function* forever(lock: RwLock, mode: RwMode): Op<void> {
  for (;;) {
    if (mode === 'read') yield* readRounds(lock, AT.counter, 1);
    else yield* writeRounds(lock, AT.counter, 1);
  }
}

describe('neither side starves', () => {
  test.each([
    ['write', 'read'],
    ['read', 'write'],
  ] as const)('one agent that wants to %s among three that %s for ever', (one, many) => {
    const run = (scheduler: Scheduler, stepsMax: number): string => {
      memory = sandbox();
      const agents = [0, 1, 2, 3].map((id) => {
        const lock = lockFor(4);
        if (id > 0) return () => forever(lock, many);
        return one === 'read' ? reader(4, 3) : writer(4, 3);
      });
      return execute({ agents, daemons: [1, 2, 3], scheduler, stepsMax }).outcome;
    };
    for (let seed = 0; seed < 100; seed++) {
      expect(run(new RandomScheduler(seed), 3000)).toBe('completed');
    }
    expect(run(new RoundRobin(), 500)).toBe('completed');
  });

  test('once a writer is announced, readers that never pause end up waiting for it', () => {
    const [first, second] = [lockFor(3), lockFor(3)];
    const agents = [
      () => forever(first, 'read'),
      () => forever(second, 'read'),
      writer(3, 1),
    ] as const;
    const script = new Scripted([
      { agent: 0, steps: 1 },
      before(2, EventKind.load32, INSIDE),
      { agent: 0, toEnd: true },
      { agent: 1, toEnd: true },
      { agent: 2, toEnd: true },
    ]);
    const result = execute({ agents, daemons: [0, 1], scheduler: script });
    expect(result.outcome).toBe('completed');
    // Both wait for the write; the readers that it had to wait for have left.
    expect(memory.words[INSIDE / 4]).toBe(0);
    expect((memory.words[STATE / 4] as number) & 0x7fff).toBe(2);
  });

  test('once a reader is announced, writers that never pause end up waiting for it', () => {
    const [first, second] = [lockFor(3), lockFor(3)];
    const agents = [
      () => forever(first, 'write'),
      () => forever(second, 'write'),
      reader(3, 1),
    ] as const;
    const script = new Scripted([
      { agent: 0, steps: 1 },
      { agent: 2, toEnd: true },
      { agent: 1, toEnd: true },
      // The write that it met ends; whoever writes next waits for the reader.
      { agent: 0, toEnd: true },
      { agent: 1, toEnd: true },
      { agent: 2, toEnd: true },
    ]);
    const recorder = new Recorder();
    const result = execute({ agents, daemons: [0, 1], scheduler: script, sinks: [recorder] });
    expect(result.outcome).toBe('completed');
    expect(recorder.agentsOf('lockAcquired')).toEqual([0, 2]);
    expect((memory.words[STATE / 4] as number) & (0x7fff << 15)).toBe(2 * WRITER);
  });
});

describe('word by word', () => {
  test('an uncontended read: one addition on either side', () => {
    const { recorder } = play([reader(2, 1)], new Scripted([]));
    expect(recorder.events.filter(({ at }) => at >= AT.lock)).toMatchObject([
      { kind: 'add32', at: STATE, old: [0, 0], now: [READER, 0], extra: Order.acquire },
      { kind: 'lockAcquired', at: STATE, now: [0, LockMode.shared] },
      { kind: 'lockReleased', at: STATE, now: [0, LockMode.shared] },
      { kind: 'add32', at: STATE, old: [READER, 0], now: [0, 0], extra: Order.release },
    ]);
  });

  test('an uncontended write: an addition, and a compare-and-swap back', () => {
    const { recorder } = play([writer(2, 1)], new Scripted([]));
    expect(recorder.events.filter(({ at }) => at >= AT.lock)).toMatchObject([
      { kind: 'add32', at: STATE, old: [0, 0], now: [WRITER, 0], extra: Order.acquire },
      { kind: 'lockAcquired', at: STATE, now: [0, LockMode.exclusive] },
      { kind: 'lockReleased', at: STATE, now: [0, LockMode.exclusive] },
      { kind: 'cas32', at: STATE, old: [WRITER, 0], now: [0, 0], extra: Order.release },
    ]);
  });

  test('a write that a reader and another writer wait for', () => {
    const script = new Scripted([
      before(1, EventKind.cas32, STATE),
      { agent: 0, toEnd: true },
      { agent: 2, toEnd: true },
      { agent: 1, toEnd: true },
      { agent: 2, toEnd: true },
      { agent: 0, toEnd: true },
      { agent: 2, toEnd: true },
    ]);
    const { recorder } = play([reader(3, 1), writer(3, 1), writer(3, 1)], script);
    const after = recorder.lines().findIndex((line) => line.startsWith('B cas32'));
    expect(
      recorder
        .lines()
        .slice(after)
        .filter((line) => !/counter|ping/.test(line)),
    ).toEqual(
      expect.arrayContaining([
        `B cas32 ${STATE}: ${2 * WRITER + READER} -> ${2 * WRITER + READER}`,
        `B add32 ${STATE}: ${2 * WRITER + READER} -> ${PHASE + WRITER + READER}`,
        `B signal ${INSIDE}: 0 -> -1`,
        `B signal ${RELEASED}: 0 -> 1`,
        `B signal ${SLOT[0]}: 0 -> 1`,
        `A add32 ${STATE}: ${PHASE + WRITER + READER} -> ${PHASE + WRITER}`,
        `A signal ${INSIDE}: -1 -> 0`,
        `C cas32 ${STATE}: ${PHASE + WRITER} -> ${PHASE}`,
      ]),
    );
    expect(recorder.agentsOf('lockAcquired')).toEqual([1, 0, 2]);
    expect(memory.words[SERVED / 4]).toBe(1);
  });

  test('a reader leaves before the writer has counted it', () => {
    const script = new Scripted([
      { agent: 0, steps: 1 },
      before(1, EventKind.signal, INSIDE),
      { agent: 0, toEnd: true },
    ]);
    const { recorder, result } = play([reader(2, 1), writer(2, 1)], script);
    expect(result.outcome).toBe('completed');
    expect(recorder.lines().filter((line) => line.includes(` ${INSIDE}:`))).toEqual([
      `A signal ${INSIDE}: 0 -> 1`,
      `B signal ${INSIDE}: 1 -> 0`,
      `B load32 ${INSIDE}: 0 -> 0`,
    ]);
  });

  test('a reader leaves between the look of a writer and its wait', () => {
    const script = new Scripted([
      { agent: 0, steps: 1 },
      before(1, EventKind.wait, INSIDE),
      { agent: 0, toEnd: true },
    ]);
    const { recorder, result } = play([reader(2, 1), writer(2, 1)], script);
    expect(result.outcome).toBe('completed');
    expect(recorder.lines().filter((line) => line.includes(` ${INSIDE}:`))).toEqual([
      `B signal ${INSIDE}: 0 -> -1`,
      `B load32 ${INSIDE}: -1 -> -1`,
      `A signal ${INSIDE}: -1 -> 0`,
      `B wait ${INSIDE}: -1 -> -1`,
      `B load32 ${INSIDE}: 0 -> 0`,
    ]);
  });

  test('a writer ends between the look of a reader and its wait', () => {
    const script = new Scripted([
      before(1, EventKind.cas32, STATE),
      before(0, EventKind.wait, RELEASED),
      { agent: 1, toEnd: true },
    ]);
    const { recorder, result } = play([reader(2, 1), writer(2, 1)], script);
    expect(result.outcome).toBe('completed');
    expect(recorder.lines().filter((line) => line.includes(` ${RELEASED}:`))).toEqual([
      `A load32 ${RELEASED}: 0 -> 0`,
      `B signal ${RELEASED}: 0 -> 1`,
      `A wait ${RELEASED}: 0 -> 0`,
      `A load32 ${RELEASED}: 1 -> 1`,
    ]);
  });

  test.each([
    ['before the write is over', EventKind.cas32, STATE, 1],
    ['before it is handed over', EventKind.add32, STATE, 1],
    ['between the two steps of the hand-over', EventKind.signal, RELEASED, 0],
  ] as const)('a reader that arrives %s, another one waiting', (_, kind, at, waits) => {
    const script = new Scripted([
      before(1, EventKind.cas32, STATE),
      { agent: 2, toEnd: true },
      before(1, kind, at),
      { agent: 0, toEnd: true },
      { agent: 1, toEnd: true },
    ]);
    const { recorder, result } = play([reader(3, 1), writer(3, 1), reader(3, 1)], script);
    expect(result.outcome).toBe('completed');
    expect(recorder.agentsOf('wait').filter((agent) => agent === 0)).toHaveLength(waits);
  });

  test('a turn that is granted before its ticket is drawn', () => {
    const script = new Scripted([
      before(0, EventKind.cas32, STATE),
      before(1, EventKind.add32, TICKETS),
      { agent: 0, toEnd: true },
      { agent: 1, toEnd: true },
    ]);
    const { recorder, result } = play([writer(2, 1), writer(2, 1)], script);
    expect(result.outcome).toBe('completed');
    // Both draw, and one of them looks at its slot: it goes on at once.
    expect(recorder.agentsOf('wait')).toEqual([1]);
    expect(recorder.agentsOf('lockAcquired')).toEqual([0, 1]);
  });

  test('a reader that waits for one write is not kept by the next', () => {
    const script = new Scripted([
      before(1, EventKind.cas32, STATE),
      { agent: 0, toEnd: true },
      { agent: 2, toEnd: true },
      { agent: 1, toEnd: true },
      { agent: 2, toEnd: true },
    ]);
    const { recorder, result } = play([reader(3, 1), writer(3, 1), writer(3, 1)], script);
    expect(result.outcome).toBe('completed');
    expect(recorder.agentsOf('lockAcquired')).toEqual([1, 0, 2]);
  });

  test('phases and tickets wrap', () => {
    memory.words[STATE / 4] = 3 * PHASE;
    memory.words[RELEASED / 4] = 3;
    for (const word of [TICKETS, SERVED]) memory.words[word / 4] = 0x7fff_ffff;
    expect(most(() => crew(2, 2), 300)).toEqual([2, 1, 1]);
  });
});

/** What a holder in one mode sees of another agent that came later. */
function contention(held: RwMode, other: RwMode | null): boolean {
  const seen: boolean[] = [];
  const lock = lockFor(2);
  const holder = function* (): Op<void> {
    if (held === 'read') yield* lock.readLock();
    else yield* lock.writeLock();
    yield* load32(AT.ping, Order.once);
    seen.push(yield* lock.isContended());
    if (held === 'read') yield* lock.readUnlock();
    else yield* lock.writeUnlock();
  };
  const come = other === 'read' ? reader(2, 1) : writer(2, 1);
  const script: ScriptLine[] = [before(0, EventKind.load32, AT.ping)];
  if (other !== null) script.push({ agent: 1, toEnd: true });
  script.push({ agent: 0, toEnd: true });
  play([holder, come], new Scripted(script));
  return seen[0] as boolean;
}

test.each([
  ['read', null, false],
  ['read', 'read', false],
  ['read', 'write', true],
  ['write', null, false],
  ['write', 'read', true],
  ['write', 'write', true],
] as const)('isContended: held for %s, %s waits: %s', (held, other, isContended) => {
  expect(contention(held, other)).toBe(isContended);
  memory = sandbox();
  // The highest phase.
  memory.words[STATE / 4] = 3 * PHASE;
  memory.words[RELEASED / 4] = 3;
  expect(contention(held, other)).toBe(isContended);
});

describe('a mistake of the holder', () => {
  const take = { read: 'readLock', write: 'writeLock' } as const;
  const give = { read: 'readUnlock', write: 'writeUnlock' } as const;
  const modes = ['read', 'write'] as const;

  test.each(modes.flatMap((held) => modes.map((more) => [held, more] as const)))(
    'is an error: held for %s, taken for %s',
    (held, more) => {
      const lock = lockFor(2);
      drive(lock[take[held]]());
      expect(() => drive(lock[take[more]]())).toThrow('lock taken twice by one agent');
      drive(lock[give[held]]());
      drive(lock[take[more]]());
    },
  );

  test.each([
    ['read', 'write'],
    ['write', 'read'],
  ] as const)('is an error: held for %s, used for %s', (held, other) => {
    const lock = lockFor(2);
    const text = `reader-writer lock is not held for ${other} by this agent`;
    drive(lock[take[held]]());
    lock.assertHeld(held);
    expect(() => lock.assertHeld(other)).toThrow(text);
    expect(() => drive(lock[give[other]]())).toThrow(text);
  });

  test.each(modes)('is an error: given back from %s unheld', (mode) => {
    const [lock, other] = [lockFor(2), lockFor(2)];
    drive(other[take[mode]]());
    expect(() => drive(lock[give[mode]]())).toThrow('is not held for');
    expect(() => drive(lock.isContended())).toThrow('lock is not held by this agent');
  });
});

function row(agent: number, mode: RwMode): Counted {
  return countedFor(memory.words.buffer, agent, READ_WRITE_STATISTICS[mode]);
}

test('statistics keep readers and writers apart', () => {
  const script = new Scripted([
    { agent: 0, steps: 1 },
    { agent: 1, toEnd: true },
    { agent: 0, toEnd: true },
  ]);
  play([reader(2, 2), writer(2, 1)], script);
  const none = {
    acquisitions: 0,
    releases: 0,
    contentions: 0,
    waitTotalNs: 0,
    holdTotalNs: 0,
    waits: 0,
    holds: 0,
  };
  expect(row(0, 'read')).toMatchObject({ acquisitions: 2, releases: 2, waits: 1, holds: 1 });
  expect(row(0, 'write')).toEqual(none);
  expect(row(1, 'read')).toEqual(none);
  expect(row(1, 'write')).toMatchObject({ acquisitions: 1, releases: 1, waits: 1, holds: 1 });
});

test('the memory of a lock is five lines and one for each contender, rounded up', () => {
  expect([1, 2, 3].map((agents) => RwLock.bytes(agents))).toEqual([768, 896, 1152]);
});
