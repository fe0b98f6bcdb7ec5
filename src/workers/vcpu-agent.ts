/** The vCPU agent: runs guest programs, takes faults, logs what was acknowledged. */
import {
  Order,
  add32,
  choose,
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
import type { VcpuRun } from '../kvm/vcpu-run.ts';
import { SENT_BACK_MAX, Vcpu } from '../kvm/vcpu.ts';
import { mayReach } from '../kvm/host/host-memory.ts';
import type { Ipa } from '../machine/address.ts';
import { FAULTED, type AccessKind } from '../machine/cpu.ts';
import { FSC, type FaultRecord } from '../machine/syndrome.ts';
import type { Actor } from './actor.ts';
import { dirtyRingsOf, passDirtyRing } from './dirty-rings.ts';
import { AgentFailure } from './failure.ts';
import { AccessLog } from './log.ts';
import { pageAccessOf, type PageAccess } from './page-access.ts';
import { preFaultRange } from './pre-fault.ts';
import { Touch, expandProgram, type Accesses } from './program.ts';
import { does, hostProgramsOf, waitsForGuests, type GuestProgram, type Phase } from './scenario.ts';
import { InitialContents } from './snapshot.ts';
import { STATISTICS, WALKS_MAX, type FaultStatistics } from './statistics.ts';
import { UserSpace } from './user-space.ts';
import { UserfaultHandler } from './userfaults.ts';
import type { WordName } from './words.ts';
import { memcacheFor, vcpuRunOf, type World } from './world.ts';

/** Latency is timed for one fault in this many (a power of two), per class. */
export const LATENCY_SAMPLE = 16;
/** A vCPU's own word in each page. */
const WORD_BYTES = 8;

/** Accesses after which a vCPU looks whether another one waits for a CPU; the slices after that are drawn, up to as many. */
const SLICE_ACCESSES = 32;
/** Of so many choices before an access, one evicts, and those below the second number step a walk. */
const SPECULATION_CHOICES = 8;
const SPECULATION_STEPS = 4;
/** As many as a TLB has sets, at least. */
const EVICTION_CHOICES = 1024;

const KINDS: readonly AccessKind[] = ['read', 'write', 'exec'];

/** What may let a dirty log begin during a run. */
const LOG_BEGINNERS = ['log-start', 'write-protect', 'replace-slot'] as const;

/** Words that count what may take a mapping from a guest. */
const CHANGES = [
  'protectEpoch',
  'logActions',
  'mappingsTaken',
  'notifierSequence',
  'slotsGeneration',
] as const satisfies readonly WordName[];

export class VcpuAgent implements Actor {
  readonly #world: World;
  readonly #id: number;
  readonly #seed: number;
  readonly #run: VcpuRun;
  readonly #vcpu: Vcpu;
  readonly #userSpace: UserSpace;
  readonly #pages: PageAccess;
  readonly #log: AccessLog;
  /** Tag of the frame that each page of the slots must have. */
  readonly #owners: Int32Array;
  /** Whether programs of the host wait for the guest's progress. */
  readonly #isAwaited: boolean;
  /** Whether dirty logs begin during the run. */
  readonly #logsBegin: boolean;
  readonly #initial: InitialContents;
  readonly #userfaults: UserfaultHandler;
  readonly #speculates: boolean;
  /** Accesses until the vCPU looks whether another one waits. */
  #slice = SLICE_ACCESSES;
  /** Sequence of the last write. */
  #sequence = 0;
  #discardEpoch = 0;

  constructor(world: World, id: number, seed: number) {
    this.#world = world;
    this.#id = id;
    this.#seed = seed;
    this.#run = vcpuRunOf(world, id);
    this.#vcpu = new Vcpu({
      memcache: memcacheFor(world, id),
      retried: STATISTICS.retried,
      ring: dirtyRingsOf(world.layout)[id] ?? null,
    });
    this.#userfaults = new UserfaultHandler(world);
    this.#userSpace = new UserSpace(world, id, { vcpu: this.#vcpu, userfaults: this.#userfaults });
    this.#initial = new InitialContents(world.scenario, world.layout);
    this.#pages = pageAccessOf(world, id, this.#run, this.#vcpu);
    this.#log = new AccessLog(world.layout, id);
    this.#owners = ownersOf(world);
    this.#speculates = world.scenario.machine.speculates === true;
    this.#isAwaited = hostProgramsOf(world.scenario).some(waitsForGuests);
    this.#logsBegin = LOG_BEGINNERS.some((action) => does(world.scenario, action));
  }

  *begin(): Op<void> {
    yield* this.#pages.begin();
  }

  *perform(phase: Phase): Op<void> {
    if (phase.guest === null) return;
    const accesses = this.expand(phase.guest);
    if (accesses.ipas.length === 0) {
      yield* this.#finish();
      return;
    }
    yield* this.enter();
    if (phase.guest.kind === 'prefault') yield* this.#preFault(accesses);
    else yield* this.run(accesses);
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
    yield* passDirtyRing(this.#vcpu);
    yield* this.#comeToCpu();
  }

  /** Ends it. */
  *leave(): Op<void> {
    yield* this.#run.exit();
    yield* this.#run.put();
    yield* this.#finish();
  }

  *#finish(): Op<void> {
    yield* add32(this.#world.layout.words.guestsFinished, 1, Order.release, 0);
    if (this.#isAwaited) yield* this.#tellProgress();
  }

  /** Makes the accesses, in guest mode. */
  *run(accesses: Accesses): Op<void> {
    const { ipas, pages, kinds } = accesses;
    for (let i = 0; i < ipas.length; i++) {
      if (--this.#slice <= 0) yield* this.#endSlice();
      if (this.#speculates) yield* this.#speculate(ipas);
      yield* this.#touch(ipas[i] as Ipa, pages[i] as number, kinds[i] as number);
      count(STATISTICS.accesses, 1);
    }
  }

  /** Has the pages of the accesses mapped, which follow one another, outside of the guest; for the log it read them. */
  *#preFault({ ipas, pages }: Accesses): Op<void> {
    yield* this.#run.exit();
    const { pageBytes } = this.#world.vm.parts.geometry;
    const range = { ipa: ipas[0] as number, bytes: pages.length * pageBytes };
    const who = `vCPU ${this.#id}, pre-fault from IPA 0x${range.ipa.toString(16)}`;
    yield* preFaultRange(
      this.#world,
      { vcpu: this.#vcpu, userfaults: this.#userfaults, who },
      range,
    );
    const protectEpoch = yield* load32(this.#world.layout.words.protectEpoch, Order.acquire);
    const discardEpoch = this.#discardEpoch;
    const read = { sequence: 0, executed: false, protectEpoch, logEpoch: 0, discardEpoch };
    for (const page of pages) this.#log.note(page, read);
    yield* this.#run.enter();
  }

  /** One access, repeated until no fault is in its way; then the log entry that acknowledges it. A write that user space dropped is none. */
  *#touch(ipa: Ipa, page: number, touch: number): Op<void> {
    // Before the access: a log that has begun misses no write from here on.
    const logEpoch = this.#logsBegin ? yield* this.#logEpoch() : 0;
    const first = yield* this.#translate(ipa, page, KINDS[touch] as AccessKind);
    if (first === FAULTED) return;
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

  /** Where the access goes, or {@link FAULTED} if user space made it. */
  *#translate(ipa: Ipa, page: number, kind: AccessKind): Op<Word> {
    let at = yield* this.#access(ipa, page, kind);
    if (at !== FAULTED) return at;
    let faults = 0;
    let changes = this.#hostChanges();
    for (let all = 0; at === FAULTED; all++) {
      const changesNow = this.#hostChanges();
      faults = changesNow === changes ? faults + 1 : 1;
      changes = changesNow;
      if (faults > this.#pages.faultsMax)
        throw new AgentFailure('livelock', this.#where(ipa, kind));
      if (all === SENT_BACK_MAX) throw new AgentFailure('starved', this.#where(ipa, kind));
      const fault = yield* this.#pages.fault();
      if (fault !== null && (yield* this.#takeFault(fault, ipa, kind)) === 'done') return FAULTED;
      at = yield* this.#access(ipa, page, kind);
    }
    if (this.#isAwaited) yield* this.#tellProgress();
    return at;
  }

  /** The boundary before an access is where a guest takes an interrupt: it is left, and entered again. */
  *#access(ipa: Ipa, page: number, kind: AccessKind): Op<Word> {
    while (yield* this.#run.isKicked()) {
      yield* this.#run.exit();
      yield* this.#run.enter();
    }
    return yield* this.#pages.access(ipa, page, kind);
  }

  /** A CPU, and the guest on it. */
  *#comeToCpu(): Op<void> {
    if (yield* this.#run.load()) count(STATISTICS.moves, 1);
    yield* this.#run.enter();
  }

  /** Preemption: where another vCPU waits for a CPU it gets this one. */
  *#endSlice(): Op<void> {
    this.#slice = SLICE_ACCESSES;
    if (!(yield* this.#run.isContended())) return;
    yield* this.#run.exit();
    yield* this.#run.put();
    this.#slice = 1 + (yield* choose(SLICE_ACCESSES));
    yield* this.#comeToCpu();
  }

  /** Lets the CPU walk for an address that the guest may access, or evict something: mostly neither. */
  *#speculate(ipas: Float64Array): Op<void> {
    const choice = yield* choose(SPECULATION_CHOICES);
    if (choice === 0) this.#run.speculation.evict(yield* choose(EVICTION_CHOICES));
    else if (choice < SPECULATION_STEPS)
      yield* this.#run.speculation.step(ipas[yield* choose(ipas.length)] as Ipa);
  }

  /** Lets agents of the host go on that wait for a guest to get through. */
  *#tellProgress(): Op<void> {
    yield* signalAdd32(this.#world.layout.words.guestProgress, 1, Order.release);
  }

  /**
   * Grows with everything that sends the guest back to fault again: what the host does, the handler on its behalf, and what other vCPUs
   * invalidate. In 5.10 a read fault and a write fault on one page of a slot that logs replace one another's leaf for as long as they alternate.
   */
  #hostChanges(): number {
    const { words } = this.#world.layout;
    const { postedByOthers } = this.#world.interconnect;
    const changes = CHANGES.reduce((sum, name) => sum + read32(words[name]), postedByOthers);
    const sentBack = counted(STATISTICS.retried) + counted(STATISTICS.metLocked);
    return changes + sentBack + this.#world.failures.struck;
  }

  /** Until the next access boundary the frame cannot become another page's: whose it is now is whose the access reaches. */
  #checkOwner(at: Word, page: number, isWrite: boolean): void {
    const owner = this.#world.memory.ownerAt(at);
    if (mayReach(this.#owners[page] as number, owner, isWrite)) return;
    if (counted(STATISTICS.strayAccesses) === 0) count(STATISTICS.firstStrayPage, page);
    count(STATISTICS.strayAccesses, 1);
  }

  /** A vCPU's own word holds its last acknowledged write, or what the page began with. */
  *#check(at: Word, page: number): Op<void> {
    const lo = yield* load64(at, Order.once);
    const hi = high();
    const expected = this.#log.lastWrite(page, this.#discardEpoch);
    const initial = this.#initial.wordOf(page);
    const isFresh = expected === 0 && lo === initial.lo && hi === initial.hi;
    if (isFresh || (expected !== 0 && lo === expected && hi === this.#id + 1)) return;
    if (counted(STATISTICS.staleReads) === 0) count(STATISTICS.firstStalePage, page);
    count(STATISTICS.staleReads, 1);
  }

  /** From the exit to the re-entry. */
  *#takeFault(fault: FaultRecord, ipa: Ipa, kind: AccessKind): Op<'retry' | 'done'> {
    const statistics = statisticsOf(fault.type);
    const isSampled = (counted(statistics.faults) & (LATENCY_SAMPLE - 1)) === 0;
    const since = isSampled ? now() : 0;
    const walks = counted(STATISTICS.walks);
    const retried = counted(STATISTICS.retried);
    const { struck } = this.#world.failures;
    count(statistics.faults, 1);
    yield* this.#run.exit();
    this.#vcpu.fault = fault;
    const slotsSeen = yield* this.#userSpace.slotsSeen();
    const result = yield* handleGuestAbort(this.#world.vm, this.#vcpu);
    const hasFailed = this.#world.failures.struck > struck;
    const exits = counted(STATISTICS.exits);
    const answer = yield* this.#userSpace.answer({ ipa, kind, result, slotsSeen, hasFailed });
    yield* passDirtyRing(this.#vcpu);
    yield* this.#run.enter();
    const isServed =
      counted(STATISTICS.retried) === retried && counted(STATISTICS.exits) === exits && !hasFailed;
    const walked = counted(STATISTICS.walks) - walks;
    if (walked > 0 || isServed) tally(statistics.walks + Math.min(walked, WALKS_MAX) * 4);
    if (isSampled) sampleInto(statistics.latencyNs, now() - since);
    return answer;
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

function statisticsOf(type: number): FaultStatistics {
  if (type === FSC.translation) return STATISTICS.faults.translation;
  return type === FSC.permission ? STATISTICS.faults.permission : STATISTICS.faults.access;
}
