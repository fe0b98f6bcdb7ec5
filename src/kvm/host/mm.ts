/**
 * The address space of the host process as one agent sees it (mm_struct): its areas, its page table, and what its pages are made of.
 * The functions beside this file change it; `HostMemory` is the part that KVM uses.
 *
 * Locks, outer to inner: mmap lock, page-table lock, the subscriber's, zone locks.
 */
import { copy, type Op, type Word } from '#port';
import type { LockStatistics } from '../../locking/lock-account.ts';
import type { RwLock } from '../../locking/rw-lock.ts';
import type { SpinLock } from '../../locking/spin-lock.ts';
import type { FailurePoint } from '../../machine/failure-point.ts';
import type { FrameZone } from '../../machine/frames.ts';
import type { Hva } from '../../machine/address.ts';
import type { Geometry } from '../../machine/geometry.ts';
import { HostTable } from './host-table.ts';
import { HVA_BASE, type HostMemoryLayout } from './layout.ts';
import { UNWATCHED, type MmuNotifier } from './mmu-notifier.ts';
import { Pages } from './pages.ts';
import { SharedObject } from './shared-object.ts';
import { UserfaultQueue } from './userfault-queue.ts';
import { VmaTable, type VmArea } from './vma.ts';
import { ZeroPages } from './zero-pages.ts';

export interface MmParts {
  readonly layout: HostMemoryLayout;
  readonly frames: FrameZone;
  /** Frames that no entry maps: what was swapped out. Contents as long as those of `frames`. */
  readonly swap: FrameZone;
  readonly mmapLock: RwLock;
  readonly pageTableLock: SpinLock;
  /** Where copies of pages can be made to fail. */
  readonly copies: FailurePoint;
  /** Whose view it is, by its number; and the statistics of the locks of its userfault queues. */
  readonly agent: number;
  readonly userfaultLock: LockStatistics;
}

/** How an operation of the host ended: `skipped`, the page is not of the kind or in use; `invalid`, no such area. */
export type HostResult = 'done' | 'skipped' | 'noMemory' | 'invalid';

export class Mm {
  readonly geometry: Geometry;
  readonly layout: HostMemoryLayout;
  readonly vmas: VmaTable;
  readonly mmapLock: RwLock;
  readonly table: HostTable;
  readonly pages: Pages;
  readonly swap: FrameZone;
  readonly shared: SharedObject;
  readonly zero: ZeroPages;
  /** Waitable: grows when a page has been moved, or has not. */
  readonly moves: Word;
  readonly #copies: FailurePoint;
  readonly #agent: number;
  readonly #queues: ReadonlyMap<VmArea, readonly UserfaultQueue[]>;
  /** Who is told of changes; set once, before anything changes. */
  notifier: MmuNotifier = UNWATCHED;

  constructor(parts: MmParts) {
    const { layout } = parts;
    this.layout = layout;
    this.geometry = layout.geometry;
    this.vmas = new VmaTable(layout.vmas);
    this.mmapLock = parts.mmapLock;
    this.table = new HostTable(layout, parts.pageTableLock);
    this.pages = new Pages(layout, parts.frames);
    this.swap = parts.swap;
    this.shared = new SharedObject(layout, parts.pageTableLock);
    this.zero = new ZeroPages(layout, this.pages);
    this.moves = layout.moves;
    this.#copies = parts.copies;
    this.#agent = parts.agent;
    this.#queues = queuesOf(this.vmas, parts);
  }

  /** Copies the contents of a page. False: its memory, or the swap device, could not be read. */
  *copyPage(to: Word, from: Word): Op<boolean> {
    if (yield* this.#copies.strikes()) return false;
    yield* copy(to, from, this.pages.frames.layout.contentBytes);
    return true;
  }

  /** The page of an address: its place in the address space from {@link HVA_BASE} on. */
  pageNumber(hva: Hva): number {
    return this.table.pageIn(HVA_BASE, hva);
  }

  /** The address of such a page. */
  addressOf(page: number): Hva {
    return (HVA_BASE + page * this.geometry.pageBytes) as Hva;
  }

  /** The queues of an area's faults; none where nobody waits for a handler. */
  queuesOf(area: VmArea): readonly UserfaultQueue[] {
    return this.#queues.get(area) ?? [];
  }

  /** The one in which this agent's faults wait, or null. */
  queueOf(area: VmArea): UserfaultQueue | null {
    const queues = this.queuesOf(area);
    return queues[this.#agent % queues.length] ?? null;
  }
}

function queuesOf(
  { areas }: VmaTable,
  { agent, userfaultLock }: MmParts,
): ReadonlyMap<VmArea, readonly UserfaultQueue[]> {
  return new Map(
    areas.map((area) => {
      const places = area.userfault?.places ?? [];
      return [area, places.map((place) => new UserfaultQueue(place, agent, userfaultLock))];
    }),
  );
}
