/** The vCPU agent: runs guest programs, takes faults, logs what was acknowledged. */
import {
  Order,
  add32,
  count,
  counted,
  high,
  load32,
  load64,
  now,
  read32,
  signalAdd32,
  store64,
  tally,
  type Op,
  type Word,
} from '#port';
import { sampleInto } from '../engine/histogram.ts';
import { handleGuestAbort } from '../kvm/guest-abort.ts';
import { systemOff } from '../kvm/psci.ts';
import { Vcpu, type AbortResult } from '../kvm/vcpu.ts';
import { mayReach } from '../kvm/host/host-memory.ts';
import type { Ipa } from '../machine/address.ts';
import { FAULTED, type AccessKind, type Cpu } from '../machine/cpu.ts';
import { FSC } from '../machine/syndrome.ts';
import type { Actor } from './actor.ts';
import { AgentFailure, type FailureKind } from './failure.ts';
import { AccessLog } from './log.ts';
import { Touch, expandProgram, type Accesses } from './program.ts';
import { does, movesPages, type GuestProgram, type Phase } from './scenario.ts';
import { STATISTICS, WALKS_MAX, type FaultStatistics } from './statistics.ts';
import { cpuOf, memcacheFor, type World } from './world.ts';

/** Latency is timed for one fault in this many (a power of two), per class. */
export const LATENCY_SAMPLE = 16;
/**
 * Faults that one access may take while the host changes nothing: translation, permission, and spurious ones on entries that other
 * vCPUs just changed (invariant 58).
 */
export const FAULTS_PER_ACCESS_MAX = 8;
/** A vCPU's own word in each page. */
const WORD_BYTES = 8;

const KINDS: readonly AccessKind[] = ['read', 'write', 'exec'];

export class VcpuAgent implements Actor {
  readonly #world: World;
  readonly #id: number;
  readonly #seed: number;
  readonly #cpu: Cpu;
  readonly #vcpu: Vcpu;
  readonly #log: AccessLog;
  /** Tag of the frame that each page of the slots must have. */
  readonly #owners: Int32Array;
  /** Whether the host goes by the guest's progress. */
  readonly #isPaced: boolean;
  /** Whether dirty logs begin during the run. */
  readonly #logsBegin: boolean;
  /** Sequence of the last write. */
  #sequence = 0;
  #discardEpoch = 0;

  constructor(world: World, id: number, seed: number) {
    this.#world = world;
    this.#id = id;
    this.#seed = seed;
    this.#cpu = cpuOf(world, id);
    this.#vcpu = new Vcpu({ memcache: memcacheFor(world, id), retried: STATISTICS.retried });
    this.#log = new AccessLog(world.layout, id);
    this.#owners = ownersOf(world);
    this.#isPaced = movesPages(world.scenario);
    this.#logsBegin = does(world.scenario, 'log-start') || does(world.scenario, 'write-protect');
  }

  /** Loads the VM's registers onto the CPU: once, before the first phase. */
  *begin(): Op<void> {
    this.#cpu.load(yield* this.#world.vm.registers());
  }

  *perform(phase: Phase): Op<void> {
    if (phase.guest === null) return;
    const accesses = this.expand(phase.guest);
    yield* this.enter();
    yield* this.run(accesses);
    yield* this.leave();
  }

  /** The first vCPU turns the machine off. */
  *end(): Op<void> {
    if (this.#id === 0) yield* systemOff(this.#world.vm);
  }

  /** The accesses that a program makes on this vCPU. */
  expand(program: GuestProgram): Accesses {
    const { scenario, layout } = this.#world;
    return expandProgram(scenario, layout, program, { vcpu: this.#id, seed: this.#seed });
  }

  /** Begins a guest program. */
  *enter(): Op<void> {
    this.#discardEpoch = yield* load32(this.#world.layout.words.discardEpoch, Order.acquire);
    yield* this.#cpu.enterGuest();
  }

  /** Ends it. */
  *leave(): Op<void> {
    yield* this.#cpu.leaveGuest();
    yield* add32(this.#world.layout.words.guestsFinished, 1, Order.release);
    if (this.#isPaced) yield* this.#tellProgress();
  }

  /** Makes the accesses, in guest mode. */
  *run(accesses: Accesses): Op<void> {
    const { ipas, pages, kinds } = accesses;
    for (let i = 0; i < ipas.length; i++) {
      yield* this.#touch(ipas[i] as Ipa, pages[i] as number, kinds[i] as number);
      count(STATISTICS.accesses, 1);
    }
  }

  /** One access, repeated until no fault is in its way; then the log entry that acknowledges it. */
  *#touch(ipa: Ipa, page: number, touch: number): Op<void> {
    // Before the access: a log that has begun misses no write from here on.
    const logEpoch = this.#logsBegin ? yield* this.#logEpoch() : 0;
    const first = yield* this.#translate(ipa, KINDS[touch] as AccessKind);
    this.#checkOwner(first, page, touch === Touch.write);
    const at = first + this.#id * WORD_BYTES;
    let sequence = 0;
    if (touch === Touch.write) {
      sequence = ++this.#sequence;
      yield* store64(at, sequence, this.#id + 1, Order.once);
    } else yield* this.#check(at, page);
    const protectEpoch = yield* load32(this.#world.layout.words.protectEpoch, Order.acquire);
    const executed = touch === Touch.exec;
    const discardEpoch = this.#discardEpoch;
    this.#log.note(page, { sequence, executed, protectEpoch, logEpoch, discardEpoch });
  }

  *#logEpoch(): Op<number> {
    return yield* load32(this.#world.layout.words.logEpoch, Order.acquire);
  }

  *#translate(ipa: Ipa, kind: AccessKind): Op<Word> {
    let at = yield* this.#cpu.access(ipa, kind);
    if (at !== FAULTED) return at;
    let faults = 0;
    let changes = this.#hostChanges();
    while (at === FAULTED) {
      const changesNow = this.#hostChanges();
      faults = changesNow === changes ? faults + 1 : 1;
      changes = changesNow;
      if (faults > FAULTS_PER_ACCESS_MAX)
        throw new AgentFailure('livelock', this.#where(ipa, kind));
      yield* this.#takeFault(ipa, kind);
      at = yield* this.#cpu.access(ipa, kind);
    }
    if (this.#isPaced) yield* this.#tellProgress();
    return at;
  }

  /** Lets agents of the host go on that wait for a guest to get through. */
  *#tellProgress(): Op<void> {
    yield* signalAdd32(this.#world.layout.words.guestProgress, 1, Order.release);
  }

  /** Grows with everything by which the host, or the handler on its behalf, sends the guest back to fault again. */
  #hostChanges(): number {
    const { protectEpoch, logActions, pagesAged, notifierSequence } = this.#world.layout.words;
    const protections = read32(protectEpoch) + read32(logActions);
    const done = protections + read32(pagesAged) + read32(notifierSequence);
    return done + counted(STATISTICS.retried) + this.#world.failures.struck;
  }

  /** Until the next access boundary the frame cannot become another page's: whose it is now is whose the access reaches. */
  #checkOwner(at: Word, page: number, isWrite: boolean): void {
    const owner = this.#world.memory.guest.ownerAt(at);
    if (mayReach(this.#owners[page] as number, owner, isWrite)) return;
    if (counted(STATISTICS.strayAccesses) === 0) count(STATISTICS.firstStrayPage, page);
    count(STATISTICS.strayAccesses, 1);
  }

  /** A vCPU's own word holds its last acknowledged write, or the zero of a fresh page. */
  *#check(at: Word, page: number): Op<void> {
    const lo = yield* load64(at, Order.once);
    const hi = high();
    const expected = this.#log.lastWrite(page, this.#discardEpoch);
    if (lo === expected && hi === (expected === 0 ? 0 : this.#id + 1)) return;
    if (counted(STATISTICS.staleReads) === 0) count(STATISTICS.firstStalePage, page);
    count(STATISTICS.staleReads, 1);
  }

  /** From the exit to the re-entry. */
  *#takeFault(ipa: Ipa, kind: AccessKind): Op<void> {
    const statistics = statisticsOf(this.#cpu.fault.type);
    const isSampled = (counted(statistics.faults) & (LATENCY_SAMPLE - 1)) === 0;
    const since = isSampled ? now() : 0;
    const walks = counted(STATISTICS.walks);
    const retried = counted(STATISTICS.retried);
    const { struck } = this.#world.failures;
    count(statistics.faults, 1);
    yield* this.#cpu.leaveGuest();
    this.#vcpu.fault = this.#cpu.fault;
    const result = yield* handleGuestAbort(this.#world.vm, this.#vcpu);
    yield* this.#cpu.enterGuest();
    const walked = counted(STATISTICS.walks) - walks;
    const hasFailed = this.#world.failures.struck > struck;
    if (walked > 0 || (counted(STATISTICS.retried) === retried && !hasFailed)) {
      tally(statistics.walks + Math.min(walked, WALKS_MAX) * 4);
    }
    if (isSampled) sampleInto(statistics.latencyNs, now() - since);
    if (hasFailed && this.#isForgiven(result)) return;
    if (result !== 'resume')
      throw new AgentFailure(this.#failureOf(result), this.#where(ipa, kind));
    if (this.#vcpu.injected !== null) throw new AgentFailure('injected', this.#where(ipa, kind));
    if (this.#vcpu.signal !== null) throw new AgentFailure('poisoned', this.#where(ipa, kind));
  }

  /** What a failure on purpose leads to: user space lets the vCPU try again. */
  #isForgiven(result: AbortResult): boolean {
    this.#vcpu.signal = null;
    return result === 'resume' || result === 'noMemory' || result === 'fault';
  }

  /** A page that the host has no frame for is -EFAULT, too. */
  #failureOf(result: Exclude<AbortResult, 'resume'>): FailureKind {
    const isOutOfMemory = result === 'fault' && this.#world.memory.guest.isExhausted;
    return isOutOfMemory ? 'noMemory' : FAILURE_OF[result];
  }

  #where(ipa: Ipa, kind: AccessKind): string {
    return `vCPU ${this.#id}, ${kind} of IPA 0x${ipa.toString(16)}`;
  }
}

/** Of every page of all slots, in their order. */
function ownersOf({ layout, vm }: World): Int32Array {
  return Int32Array.from(
    layout.slots.flatMap(({ hva, pages }) => vm.parts.host.ownerTags(hva, pages)),
  );
}

const FAILURE_OF = {
  exit: 'outsideSlots',
  noSystemCall: 'outsideSlots',
  fault: 'fault',
  invalid: 'fault',
  outOfRange: 'fault',
  notPermitted: 'fault',
  noMemory: 'noMemory',
} as const satisfies Record<Exclude<AbortResult, 'resume'>, string>;

function statisticsOf(type: number): FaultStatistics {
  if (type === FSC.translation) return STATISTICS.faults.translation;
  return type === FSC.permission ? STATISTICS.faults.permission : STATISTICS.faults.access;
}
