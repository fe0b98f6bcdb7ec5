/** A host process of a few areas for tests: agents' own views, a subscriber that notes what it is told, and accounting at the end. */
import { attach, drive, explore, load32, Order, store32, type Op, type Word } from '#port';
import { EventKind, RECORD, type EventSink } from '../../../src/engine/events.ts';
import { Execution, type Scheduler } from '../../../src/engine/execution.ts';
import type { ExploreMemory } from '../../../src/engine/explore-memory.ts';
import { hostAccounts } from '../../../src/kvm/host/accounts.ts';
import { HostMemory, mayReach } from '../../../src/kvm/host/host-memory.ts';
import { HostState, isWritable, isYoung, stateOf } from '../../../src/kvm/host/host-pte.ts';
import { HVA_BASE, hostMemoryLayout, type HostMemoryLayout } from '../../../src/kvm/host/layout.ts';
import type { HvaRange, MmuNotifier } from '../../../src/kvm/host/mmu-notifier.ts';
import type { Mm } from '../../../src/kvm/host/mm.ts';
import type { Pinned } from '../../../src/kvm/host/pinned.ts';
import type { VmaSpec } from '../../../src/kvm/host/vma.ts';
import { RwLock } from '../../../src/locking/rw-lock.ts';
import { SpinLock } from '../../../src/locking/spin-lock.ts';
import type { Hva, Phys } from '../../../src/machine/address.ts';
import {
  FRAME_META_BYTES,
  FrameZone,
  GUEST_RAM_BASE,
  NO_FRAME,
  SWAP_BASE,
  ZONE_STATE_BYTES,
  type ZoneLayout,
} from '../../../src/machine/frames.ts';
import { FailurePoint } from '../../../src/machine/failure-point.ts';
import { GEOMETRY_4K, type Geometry } from '../../../src/machine/geometry.ts';
import { STATISTICS } from '../../../src/workers/statistics.ts';

const AGENTS = 5;
/** Bytes kept of each frame. */
const CONTENT_BYTES = 64;

export interface HostLabOptions {
  readonly geometry?: Geometry;
  readonly frames?: number;
  readonly swapFrames?: number;
  /** Bytes for structures of the test's own, from `take`. */
  readonly room?: number;
}

/** An area, the rest as usual. `at`: bytes from {@link HVA_BASE}. */
export function area(
  kind: VmaSpec['kind'],
  at: number,
  bytes: number,
  more: Partial<VmaSpec> = {},
): VmaSpec {
  const hva = (HVA_BASE + at) as Hva;
  return { kind, hva, bytes, hugeBytes: 4096, pgoff: 0, isWritable: true, ...more };
}

/** Notes each call as a short text, with what the entry said at that moment. */
export class Recording implements MmuNotifier {
  readonly calls: string[] = [];
  /** What `...Young` answers. */
  isYoung = false;
  readonly #lab: HostLab;

  constructor(lab: HostLab) {
    this.#lab = lab;
  }

  *invalidateRangeStart(range: HvaRange, mayBlock: boolean): Op<void> {
    this.#note(mayBlock ? 'start' : 'start nonblocking', range.hva, range.bytes);
  }

  *invalidateRangeEnd(range: HvaRange): Op<void> {
    this.#note('end', range.hva, range.bytes);
  }

  *changePte(hva: Hva, frame: Phys): Op<void> {
    this.#note(`change to ${this.#lab.index(frame)}`, hva, null);
  }

  *clearFlushYoung({ hva, bytes }: HvaRange): Op<boolean> {
    this.#note('clearFlushYoung', hva, bytes);
    return this.isYoung;
  }

  *clearYoung({ hva, bytes }: HvaRange): Op<boolean> {
    this.#note('clearYoung', hva, bytes);
    return this.isYoung;
  }

  *testYoung(hva: Hva): Op<boolean> {
    this.#note('testYoung', hva, null);
    return this.isYoung;
  }

  *release(): Op<void> {
    this.calls.push('release');
  }

  #note(what: string, hva: Hva, bytes: number | null): void {
    const page = this.#lab.pageOf(hva);
    const length = bytes === null ? '' : `+${bytes / this.#lab.pageBytes}`;
    this.calls.push(`${what} ${page}${length}: ${this.#lab.entry(page)}`);
  }
}

/** Makes the copy after `spared` others fail. */
class Unreadable extends FailurePoint {
  spared: number = Number.POSITIVE_INFINITY;

  override *strikes(): Op<boolean> {
    return this.spared-- === 0;
  }
}

export class HostLab {
  readonly memory: ExploreMemory;
  readonly geometry: Geometry;
  readonly pageBytes: number;
  readonly layout: HostMemoryLayout;
  readonly host: HostMemory;
  readonly mm: Mm;
  readonly told: Recording;
  /** Copies of pages that fail. */
  readonly unreadable: Unreadable = new Unreadable();
  readonly #guest: ZoneLayout;
  readonly #swap: ZoneLayout;
  readonly #locks: readonly Word[];
  readonly #statistics: Word;
  #next = 4096;

  constructor(vmas: readonly VmaSpec[], options: HostLabOptions = {}) {
    const { geometry = GEOMETRY_4K, frames = 16, swapFrames = 4 } = options;
    this.geometry = geometry;
    this.pageBytes = geometry.pageBytes;
    this.#locks = [0, 1, 2, 3].map(() => this.take(RwLock.bytes(AGENTS)));
    this.#statistics = this.take(AGENTS * STATISTICS.bytes);
    this.#guest = this.#zone(GUEST_RAM_BASE, frames);
    this.#swap = this.#zone(SWAP_BASE, swapFrames);
    this.layout = hostMemoryLayout(this, { geometry, vmas, frames });
    const buffer = new ArrayBuffer(this.#next + (options.room ?? 0));
    this.memory = attach({ memory: { buffer }, seed: 0, statistics: this.#statistics, stop: 0 });
    this.host = this.view();
    this.mm = this.host.mm;
    this.told = new Recording(this);
    this.host.subscribe(this.told);
  }

  take(bytes: number): Word {
    const at = this.#next;
    this.#next += Math.ceil(bytes / 128) * 128;
    return at;
  }

  /** An agent's own view, unwatched. */
  view(agent = 0): HostMemory {
    const lock = (i: number): SpinLock =>
      new SpinLock(this.#locks[i] as Word, AGENTS, STATISTICS.locks.mmu_lock);
    const { mmu_lock } = STATISTICS.locks;
    const statistics = { read: mmu_lock, write: mmu_lock };
    return new HostMemory({
      layout: this.layout,
      frames: new FrameZone(this.#guest, lock(0)),
      swap: new FrameZone(this.#swap, lock(1)),
      pageTableLock: lock(2),
      copies: this.unreadable,
      mmapLock: new RwLock(this.#locks[3] as Word, AGENTS, statistics),
      agent,
      userfaultLock: mmu_lock,
    });
  }

  /** The ticket word of a lock: 0 guest zone, 1 swap zone, 2 page table. */
  lockAt(i: number): Word {
    return this.#locks[i] as Word;
  }

  /** Address of page `n` of the process. */
  hva(page: number): Hva {
    return (HVA_BASE + page * this.pageBytes) as Hva;
  }

  range(page: number, pages: number): HvaRange {
    return { hva: this.hva(page), bytes: pages * this.pageBytes };
  }

  pageOf(hva: Hva): number {
    return (hva - HVA_BASE) / this.pageBytes;
  }

  /** A frame as its index in the zone; -1 for none. */
  index(frame: Phys): number {
    return frame < GUEST_RAM_BASE ? -1 : (frame - GUEST_RAM_BASE) / this.pageBytes;
  }

  frame(index: number): Phys {
    return (GUEST_RAM_BASE + index * this.pageBytes) as Phys;
  }

  /** What the table says of a page: state, frame, flags, level of a block. */
  entry(page: number): string {
    const { pte, level } = this.mm.table.find(this.hva(page));
    const state = Object.entries(HostState).find(([, value]) => value === stateOf(pte))?.[0] ?? '?';
    const frame = this.index(this.host.lookup(this.hva(page)));
    const flags = `${isWritable(pte) ? ' W' : ''}${isYoung(pte) ? ' young' : ''}`;
    return `${state}${frame < 0 ? '' : ` ${frame}`}${flags}${level < 3 ? ` level ${level}` : ''}`;
  }

  pin(page: number, isWrite: boolean): Pinned {
    return drive(this.host.pin(this.hva(page), isWrite));
  }

  /** Touches a page and lets it go; the frame's index. */
  touch(page: number, isWrite: boolean): number {
    return drive(touch(this.host, this.hva(page), isWrite));
  }

  /** Writes a value into a page. */
  write(page: number, value: number): void {
    drive(write(this.host, this.hva(page), value));
  }

  /** The value in a page wherever it is, without touching it; 0 for a page never written. */
  read(page: number): number {
    const at = this.host.contentsOf(this.hva(page));
    return at === null ? 0 : drive(load32(at, Order.once));
  }

  count(index: number): number {
    return drive(this.mm.pages.frames.count(this.frame(index)));
  }

  owner(index: number): number {
    return drive(this.mm.pages.frames.owner(this.frame(index)));
  }

  /** What the subscriber was told since the last time. */
  calls(): string[] {
    return this.told.calls.splice(0);
  }

  /** What is wrong while nothing runs: references that the host does not know of, owners. */
  wrong(): string[] {
    const { frames, swap } = drive(hostAccounts(this.mm));
    return [
      ...this.#wrongReferences('frame', this.mm.pages.frames, frames),
      ...this.#wrongReferences('place', this.mm.swap, swap),
      ...this.#wrongOwners(),
    ];
  }

  /** Runs agents to their ends from the present state. */
  run(
    scheduler: Scheduler,
    agents: readonly (() => Op<unknown>)[],
    sinks: readonly EventSink[] = [],
  ): void {
    const specs = agents.map((start, id) => ({
      name: `agent ${id}`,
      statistics: this.#statistics + id * STATISTICS.bytes,
      *start(): Op<void> {
        yield* start();
      },
    }));
    const result = explore(new Execution({ agents: specs, scheduler, stepsMax: 400_000, sinks }));
    if (result.outcome === 'threw') throw result.error;
    if (result.outcome !== 'completed') throw new Error(`${result.outcome}: ${result.detail}`);
  }

  #wrongReferences(name: string, zone: FrameZone, held: ReadonlyMap<Phys, number>): string[] {
    const { base, frameBytes } = zone.layout;
    const { used, free } = zone.accounts();
    const lost = used - free === held.size ? [] : [`${used - free} ${name}s, ${held.size} known`];
    const wrong = Array.from({ length: used }, (_, i) => (base + i * frameBytes) as Phys)
      .map((frame, i) => [i, drive(zone.count(frame)), held.get(frame) ?? 0] as const)
      .filter(([, references, expected]) => references !== expected)
      .map(
        ([i, references, expected]) => `${name} ${i}: ${references} references, not ${expected}`,
      );
    return [...lost, ...wrong];
  }

  #wrongOwners(): string[] {
    const wrong: string[] = [];
    for (const { hva, bytes } of this.mm.vmas.areas) {
      for (let at: number = hva; at < hva + bytes; at += this.pageBytes) {
        const frame = this.host.lookup(at as Hva);
        if (
          frame !== NO_FRAME &&
          !mayReach(
            this.host.ownerTags(at as Hva, 1)[0] as number,
            this.owner(this.index(frame)),
            false,
          )
        )
          wrong.push(`page ${this.pageOf(at as Hva)}: frame ${this.index(frame)} of another`);
      }
    }
    for (let i = 0; i < this.mm.pages.frames.accounts().used; i++)
      if (this.count(i) === 0 && this.owner(i) !== 0) wrong.push(`frame ${i}: free, with an owner`);
    return wrong;
  }

  #zone(base: Phys, frames: number): ZoneLayout {
    return {
      base,
      frames,
      frameBytes: this.pageBytes,
      contentBytes: CONTENT_BYTES,
      state: this.take(ZONE_STATE_BYTES),
      meta: this.take(frames * FRAME_META_BYTES),
      contents: this.take(frames * CONTENT_BYTES),
    };
  }
}

/** Pins a page and lets it go; the frame's index, -1 if that failed. */
export function* touch(host: HostMemory, hva: Hva, isWrite: boolean): Op<number> {
  const { frame } = yield* host.pin(hva, isWrite);
  yield* host.unpin(frame);
  return host.mm.pages.frames.contains(frame) ? host.mm.pages.numberOf(frame) : -1;
}

/** Writes a value through a pin, as the process itself would through its page table. */
export function* write(host: HostMemory, hva: Hva, value: number): Op<void> {
  const { status, frame } = yield* host.pin(hva, true);
  if (status !== 'page') throw new Error(`write: ${status}`);
  yield* store32(host.mm.pages.frames.wordOf(frame), value, Order.once);
  yield* host.unpin(frame);
}

/** Counts the events of one kind. */
export class Counter implements EventSink {
  count = 0;
  readonly #kind: EventKind;

  constructor(kind: EventKind) {
    this.#kind = kind;
  }

  onEvent(record: Int32Array): void {
    if (((record[RECORD.agentAndKind] as number) & 0xffff) === this.#kind) this.count++;
  }
}
