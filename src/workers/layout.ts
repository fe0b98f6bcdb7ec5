/**
 * The shared memory of a run: where every structure lives, computed from the scenario alone, so that every agent computes the
 * same. Sized once, never grown. Offset 0 holds nothing: it stands for "nowhere".
 */
import type { Word } from '#port';
import { HVA_BASE, hostMemoryLayout, type HostMemoryLayout } from '../kvm/host/layout.ts';
import type { VmaSpec } from '../kvm/host/vma.ts';
import { dirtyBitmapBytes } from '../kvm/dirty-bitmap.ts';
import { DIRTY_ENTRY_BYTES, type DirtyRingLayout } from '../kvm/dirty-ring.ts';
import { MEMCACHE_BYTES } from '../kvm/memcache.ts';
import { memslotArraysBytes, type MemslotsLayout } from '../kvm/memslots.ts';
import { GRANT_BYTES, placesOf, type RunQueueLayout } from '../kvm/run-queue.ts';
import { CACHE_PAGES } from '../kvm/table-page-cache.ts';
import { CPU_VMID_BYTES, vmidMapBytes, type VmidLayout } from '../kvm/vmid/vmid-allocator.ts';
import { Mutex } from '../locking/mutex.ts';
import { Rcu } from '../locking/rcu.ts';
import { RwLock } from '../locking/rw-lock.ts';
import { SpinLock } from '../locking/spin-lock.ts';
import { Srcu } from '../locking/srcu.ts';
import type { Gfn, Hva } from '../machine/address.ts';
import { CPU_CACHE_BYTES } from '../machine/cpu.ts';
import {
  DEVICE_BASE,
  FRAME_BYTES,
  FRAME_META_BYTES,
  GUEST_RAM_BASE,
  SWAP_BASE,
  TABLE_RAM_BASE,
  ZONE_STATE_BYTES,
  type ZoneLayout,
} from '../machine/frames.ts';
import { FAILURE_SITES, type FailureSite } from '../machine/failure-point.ts';
import { LAST_LEVEL, stage2Root, type Geometry } from '../machine/geometry.ts';
import { geometryOf, pageBytesOf } from '../machine/shape.ts';
import { ANSWER_BYTES, RING_BYTES, type InterconnectLayout } from '../machine/tlbi.ts';
import {
  does,
  harvestedSlots,
  hostAgentsOf,
  hostProgramsOf,
  isDevice,
  isSlotProgram,
  type Backing,
  type Scenario,
  type Slot,
} from './scenario.ts';
import {
  LOCK_NAMES,
  RW_LOCK_NAMES,
  STATISTICS,
  type LockName,
  type RwLockName,
} from './statistics.ts';
import { SLOT_LOG_BYTES, slotLogWords, type SlotLogLayout } from './slot-log.ts';
import { WORDS, type WordName } from './words.ts';

/** Control words and structures that different agents write stand on lines of their own. */
const LINE_BYTES = 128;
/** Bytes kept of a frame when a guest keeps one line of each. */
const LINE_CONTENT_BYTES = 64;
/** Bytes of a page's entry in a vCPU's log: see log.ts. */
export const LOG_ENTRY_BYTES = 20;
/** The largest shared memory: 32-bit addresses. */
export const MEMORY_BYTES_MAX: number = 2 ** 32;

/** Slot ids that no slot of the scenario has, at the least: for slots that are added. */
const SPARE_SLOT_IDS = 4;

/** A slot as a run begins with it; its id is its place in {@link Layout.slots}. */
export interface SlotLayout {
  readonly baseGfn: Gfn;
  readonly pages: number;
  readonly pageBytes: number;
  /** User address of the first page. */
  readonly hva: Hva;
}

/** What each VM has for itself; a layout has that of one VM in these places. */
type VmKeys =
  | 'words'
  | 'locks'
  | 'rwLocks'
  | 'lastVcpus'
  | 'slots'
  | 'slotsLock'
  | 'slotsSrcu'
  | 'tablesRcu'
  | 'splitCache'
  | 'memslots'
  | 'host'
  | 'slotLogs'
  | 'log';

/** Words that each VM has for itself. */
const VM_WORDS = [
  'stage2Root',
  'twinRoot',
  'twinDifferences',
  'notifierSequence',
  'notifierCount',
  'invalidationsOpen',
  'slotsGeneration',
  'mappingsTaken',
  'logActions',
  'logEpoch',
  'protectEpoch',
  'discardEpoch',
  'vmid',
] as const satisfies readonly WordName[];
/** Locks that each VM has for itself. */
const VM_LOCKS = ['mmu_lock', 'page_table_lock'] as const satisfies readonly LockName[];

/** The shared memory as one VM sees it. */
export interface Layout {
  /** Where it ends: the size of a memory that holds nothing else, bytes. */
  readonly bytes: number;
  readonly vcpus: number;
  /** Agents of the host. */
  readonly hosts: number;
  /** vCPUs, then host agents, then one for ordinary code that sets up and verifies. */
  readonly agents: number;
  readonly words: Readonly<Record<WordName, Word>>;
  readonly locks: Readonly<Record<LockName, Word>>;
  readonly rwLocks: Readonly<Record<RwLockName, Word>>;
  readonly statistics: Word;
  /** Attempts at each site of failures on purpose. */
  readonly failures: Readonly<Record<FailureSite, Word>>;
  readonly interconnect: InterconnectLayout;
  readonly cpuCaches: Word;
  readonly runQueue: RunQueueLayout;
  readonly vmids: VmidLayout;
  /** Of each host agent, for VMs that it makes live for a moment: a VMID word. */
  readonly shortLivedVmids: Word;
  /** Of the VM, a word per CPU: see Stage2Mmu. */
  readonly lastVcpus: Word;
  readonly memcaches: Word;
  /** Of every vCPU, where the scenario has dirty rings. */
  readonly dirtyRings: readonly DirtyRingLayout[];
  /** The VM's cache for splitting blocks. */
  readonly splitCache: Word;
  readonly slots: readonly SlotLayout[];
  readonly slotsLock: Word;
  readonly slotsSrcu: Word;
  readonly memslots: MemslotsLayout;
  /** One for each of {@link Layout.slots}. */
  readonly slotLogs: readonly SlotLogLayout[];
  /** Pages of all slots. */
  readonly pages: number;
  readonly host: HostMemoryLayout;
  /** `vcpus * pages` log entries, a vCPU's together. */
  readonly log: Word;
  readonly guestZone: ZoneLayout;
  readonly tableZone: ZoneLayout;
  /** Registers of the slots that are devices. */
  readonly deviceZone: ZoneLayout;
  /** Read sections of shared walks. */
  readonly tablesRcu: Word;
  /** What the VMs after the first have for themselves. */
  readonly otherVms: readonly Pick<Layout, VmKeys>[];
  /** As many frames as there are pages, if the host swaps any out. */
  readonly swapZone: ZoneLayout;
}

/** Index of the host agent that conducts the run (the others follow it), and of the ordinary code around the run. */
export const hostAgent = (layout: Layout): number => layout.vcpus;
export const mainAgent = (layout: Layout): number => layout.vcpus + layout.hosts;

/** VMs of a run. */
function vmsOf({ otherVms }: Layout): number {
  return 1 + otherVms.length;
}

/** The VM of an agent: vCPUs and host agents are dealt out in turn; the ordinary code around the run begins with the first. */
export function vmOfAgent(layout: Layout, agent: number): number {
  if (agent === mainAgent(layout)) return 0;
  return (agent < layout.vcpus ? agent : agent - layout.vcpus) % vmsOf(layout);
}

/** The memory as another VM sees it; `layout` is the first VM's. */
export function layoutOfVm(layout: Layout, vm: number): Layout {
  return vm === 0 ? layout : { ...layout, ...layout.otherVms[vm - 1] };
}

/** Byte offset of an agent's statistics block. */
export function statisticsOf(layout: Layout, agent: number): Word {
  return layout.statistics + agent * STATISTICS.bytes;
}

/** Bytes of a structure that starts on a line of its own. */
function lines(bytes: number): number {
  return Math.ceil(bytes / LINE_BYTES) * LINE_BYTES;
}

class Space {
  next: Word;

  constructor(from: Word) {
    this.next = from;
  }

  take(bytes: number): Word {
    const at = this.next;
    this.next += lines(bytes);
    return at;
  }

  /** Aligned to a power of two. */
  takeAligned(bytes: number, alignment: number): Word {
    this.next = Math.ceil(this.next / alignment) * alignment;
    return this.take(bytes);
  }

  /** On pages of its own: `explore` saves and restores whole ones. */
  takePages(bytes: number): Word {
    return this.takeAligned(bytes, FRAME_BYTES);
  }
}

/**
 * Lays out the memory of a scenario, from the page `from` on. The result may exceed {@link MEMORY_BYTES_MAX}: the caller refuses it.
 */
export function layoutOf(scenario: Scenario, from: Word = FRAME_BYTES): Layout {
  const space = new Space(from);
  const { vcpus } = scenario;
  const cpus = scenario.machine.cpus ?? vcpus;
  const hosts = hostAgentsOf(scenario);
  const agents = vcpus + hosts + 1;
  const words = placed(space, Object.keys(WORDS) as WordName[], 8);
  const frameBytes = pageBytesOf(scenario.machine);
  const geometry = geometryOf(scenario.machine);
  const areas = areasOf(scenario, geometry, { from: HVA_BASE, agents });
  const pages = scenario.slots.reduce((sum, slot) => sum + slot.bytes / frameBytes, 0);
  const layout = {
    vcpus,
    hosts,
    agents,
    words,
    locks: placed(space, LOCK_NAMES, SpinLock.bytes(agents)),
    rwLocks: placed(space, RW_LOCK_NAMES, RwLock.bytes(agents)),
    statistics: space.takePages(agents * STATISTICS.bytes),
    failures: placed(space, FAILURE_SITES, 8),
    interconnect: {
      claimed: words.tlbiClaimed,
      posted: words.tlbiPosted,
      ring: space.take(RING_BYTES),
      answers: space.take(cpus * ANSWER_BYTES),
      cpus,
    },
    cpuCaches: space.takePages(cpus * CPU_CACHE_BYTES),
    runQueue: {
      cpus,
      tasks: vcpus + hosts,
      line: words.runQueueLine,
      busy: space.take(cpus * 4),
      places: space.take(placesOf(vcpus + hosts) * 4),
      grants: space.take((vcpus + hosts) * GRANT_BYTES),
    },
    vmids: {
      generation: words.vmidGeneration,
      cursor: words.vmidCursor,
      map: space.take(vmidMapBytes(scenario.machine.features.vmidBits)),
      cpus: space.take(cpus * CPU_VMID_BYTES),
    },
    shortLivedVmids: space.take(hosts * 8),
    lastVcpus: space.take(cpus * 4),
    memcaches: space.take(vcpus * lines(MEMCACHE_BYTES)),
    dirtyRings: dirtyRings(space, scenario),
    splitCache: space.take(MEMCACHE_BYTES),
    slots: slotLayouts(scenario, areas),
    slotsLock: space.take(Mutex.bytes(agents)),
    slotsSrcu: space.take(Srcu.bytes(agents)),
    memslots: memslotsLayout(space, scenario, words),
    slotLogs: slotLogLayouts(space, scenario),
    pages,
    host: hostMemoryLayout(space, { geometry, vmas: areas, frames: guestFrames(scenario) }),
    log: space.takePages(vcpus * pages * LOG_ENTRY_BYTES),
    tablesRcu: space.take(Rcu.bytes(agents)),
    tableZone: zone(space, {
      base: TABLE_RAM_BASE,
      frames: tableFrames(scenario),
      frameBytes,
      contentBytes: frameBytes,
    }),
    guestZone: zone(space, {
      base: GUEST_RAM_BASE,
      frames: guestFrames(scenario),
      frameBytes,
      contentBytes: contentBytesOf(scenario),
    }),
    deviceZone: zone(space, {
      base: DEVICE_BASE,
      frames: scenario.slots
        .filter(isDevice)
        .reduce((sum, { bytes }) => sum + bytes / frameBytes, 0),
      frameBytes,
      contentBytes: contentBytesOf(scenario),
    }),
    swapZone: zone(space, {
      base: SWAP_BASE,
      frames: does(scenario, 'swap') ? pages * (scenario.vms ?? 1) : 0,
      frameBytes,
      contentBytes: contentBytesOf(scenario),
    }),
  };
  const otherVms = otherVmsOf(space, scenario, layout);
  return { ...layout, otherVms, bytes: space.next };
}

/** What the VMs after the first have for themselves. */
function otherVmsOf(
  space: Space,
  scenario: Scenario,
  first: Pick<Layout, VmKeys | 'agents' | 'vcpus' | 'pages' | 'runQueue'>,
): Pick<Layout, VmKeys>[] {
  const { agents, runQueue } = first;
  const geometry = geometryOf(scenario.machine);
  const others: Pick<Layout, VmKeys>[] = [];
  let end = endOf(first.host.vmas);
  for (let vm = 1; vm < (scenario.vms ?? 1); vm++) {
    const areas = areasOf(scenario, geometry, { from: end, agents });
    end = endOf(areas);
    const words = { ...first.words, ...placed(space, VM_WORDS, 8) };
    others.push({
      words,
      locks: { ...first.locks, ...placed(space, VM_LOCKS, SpinLock.bytes(agents)) },
      rwLocks: placed(space, RW_LOCK_NAMES, RwLock.bytes(agents)),
      lastVcpus: space.take(runQueue.cpus * 4),
      slots: slotLayouts(scenario, areas),
      slotsLock: space.take(Mutex.bytes(agents)),
      slotsSrcu: space.take(Srcu.bytes(agents)),
      tablesRcu: space.take(Rcu.bytes(agents)),
      splitCache: space.take(MEMCACHE_BYTES),
      memslots: memslotsLayout(space, scenario, words),
      host: hostMemoryLayout(space, { geometry, vmas: areas, frames: guestFrames(scenario) }),
      slotLogs: slotLogLayouts(space, scenario),
      log: space.takePages(first.vcpus * first.pages * LOG_ENTRY_BYTES),
    });
  }
  return others;
}

function endOf(areas: readonly Pick<VmaSpec, 'hva' | 'bytes'>[]): number {
  return Math.max(HVA_BASE, ...areas.map(({ hva, bytes }) => hva + bytes));
}

/** The id of the slot that an agent of the host may add. */
export function spareSlotId({ slots }: Layout, host: number): number {
  return slots.length + host;
}

/** Byte offset of a vCPU's memcache. */
export function memcacheOf(layout: Layout, vcpu: number): Word {
  return layout.memcaches + vcpu * lines(MEMCACHE_BYTES);
}

/** Something of `bytes` bytes for each name, on lines of its own. */
function placed<Name extends string>(
  space: Space,
  names: readonly Name[],
  bytes: number,
): Record<Name, Word> {
  const entries = names.map((name) => [name, space.take(bytes)]);
  return Object.fromEntries(entries) as Record<Name, Word>;
}

function dirtyRings(space: Space, { vcpus, dirtyRing: size }: Scenario): DirtyRingLayout[] {
  if (size === undefined) return [];
  return Array.from({ length: vcpus }, () => ({
    size,
    entries: space.take(size * DIRTY_ENTRY_BYTES),
    dirtyIndex: space.take(4),
    resetIndex: space.take(8),
    fetchIndex: space.take(4),
  }));
}

/** A bitmap's room for each slot of the scenario, and for the slot that each host agent may add. */
function memslotsLayout(
  space: Space,
  scenario: Scenario,
  words: Readonly<Record<WordName, Word>>,
): MemslotsLayout {
  const pageBytes = pageBytesOf(scenario.machine);
  const pages = scenario.slots.map(({ bytes }) => bytes / pageBytes);
  const spareIds = Math.max(SPARE_SLOT_IDS, hostAgentsOf(scenario));
  const spare = Array.from({ length: spareIds }, () => Math.max(0, ...pages));
  const ids = [...pages, ...spare];
  return {
    pageBytes,
    generation: words.slotsGeneration,
    arrays: space.take(memslotArraysBytes(ids.length)),
    bitmaps: ids.map((room) => ({ at: space.take(dirtyBitmapBytes(room)), pages: room })),
  };
}

/** A copy for each slot that some program harvests. */
function slotLogLayouts(space: Space, scenario: Scenario): SlotLogLayout[] {
  const harvested = harvestedSlots(scenario);
  const pageBytes = pageBytesOf(scenario.machine);
  const contentBytes = contentBytesOf(scenario);
  return scenario.slots.map(({ bytes }, slot) => ({
    ...slotLogWords(space.take(SLOT_LOG_BYTES)),
    copy: harvested.has(slot) ? space.takePages((bytes / pageBytes) * contentBytes) : null,
  }));
}

function slotLayouts(scenario: Scenario, areas: readonly VmaSpec[]): SlotLayout[] {
  const pageBytes = pageBytesOf(scenario.machine);
  return scenario.slots.map((slot, i) => ({
    baseGfn: (slot.base / pageBytes) as Gfn,
    pages: slot.bytes / pageBytes,
    pageBytes,
    hva: (areas[i] as VmaSpec).hva,
  }));
}

/**
 * An area of the host's user memory behind each slot, in their order from `from` on. Each VM has its process; addresses differ all the same, and
 * with them the owners' tags of frames.
 */
function areasOf(
  scenario: Scenario,
  geometry: Geometry,
  { from, agents }: { readonly from: number; readonly agents: number },
): VmaSpec[] {
  const { pageBytes } = geometry;
  let next = from;
  let device: number = DEVICE_BASE;
  return scenario.slots.map((slot): VmaSpec => {
    const { bytes } = slot;
    const { kind, pageBytes: hugeBytes, offset } = slot.backing ?? anonymous(pageBytes);
    const hva = areaStart(slot, next, geometry);
    next = hva + bytes;
    const pgoff = (kind === 'pfnmap' ? device : offset) / pageBytes;
    if (kind === 'pfnmap') device += bytes;
    return {
      hva,
      bytes,
      kind,
      hugeBytes,
      pgoff,
      isWritable: true,
      ...registrationOf(slot, scenario.vcpus, agents),
    };
  });
}

/** The userfault registration of a slot's area, if it has one; every agent may wait. */
function registrationOf(
  { userfault }: Slot,
  vcpus: number,
  waiters: number,
): Pick<VmaSpec, 'userfault'> {
  if (userfault === undefined) return {};
  const queues = { shared: 1, 'per-vcpu': vcpus, exit: 0 }[userfault.queue];
  return { userfault: { mode: userfault.mode, queues, waiters } };
}

function anonymous(pageBytes: number): Backing {
  return { kind: 'anonymous', pageBytes, offset: 0 };
}

/**
 * Where the area of a slot begins, from `from` on: in the place of a block that its first guest address has, for the largest block that
 * the slot can hold; so that such blocks can be mapped. A huge page of hugetlb begins where such pages do.
 */
function areaStart({ base, bytes, backing }: Slot, from: number, geometry: Geometry): Hva {
  const isHugetlb = backing?.kind === 'hugetlb';
  const unit = isHugetlb ? backing.pageBytes : largestBlock(bytes, geometry);
  const inside = isHugetlb ? 0 : base % unit;
  const candidate = from - (from % unit) + inside;
  return (candidate < from ? candidate + unit : candidate) as Hva;
}

function largestBlock(bytes: number, geometry: Geometry): number {
  const levels = ([1, 2] as const).filter((level) => level >= geometry.blockLevelMin);
  const fits = levels.map((level) => geometry.sizeOf(level)).find((size) => size <= bytes);
  return fits ?? geometry.pageBytes;
}

function contentBytesOf(scenario: Scenario): number {
  return scenario.contents === 'page' ? pageBytesOf(scenario.machine) : LINE_CONTENT_BYTES;
}

/** The frames of a zone are aligned to their size in the shared memory too, so that a word's table page can be told from its place. */
function zone(
  space: Space,
  shape: Pick<ZoneLayout, 'base' | 'frames' | 'frameBytes' | 'contentBytes'>,
): ZoneLayout {
  const { frames, frameBytes, contentBytes } = shape;
  return {
    ...shape,
    state: space.take(ZONE_STATE_BYTES),
    meta: space.take(frames * FRAME_META_BYTES),
    contents: space.takeAligned(frames * contentBytes, frameBytes),
  };
}

/**
 * The host's frames, and one for each vCPU: two that fault in one page both take a frame before one of them gives its own back,
 * which must not look like the end of memory when only the last page is missing.
 */
function guestFrames(scenario: Scenario): number {
  return scenario.frames * (scenario.vms ?? 1) + scenario.vcpus;
}

/** Table pages that a run can need: full caches of the vCPUs and of the VM, the root with its alignment, and every table of every slot, wherever it is moved. */
function tableFrames(scenario: Scenario): number {
  const geometry = geometryOf(scenario.machine);
  const root = stage2Root(geometry, scenario.ipaBits);
  const moved = hostProgramsOf(scenario)
    .filter(isSlotProgram)
    .map(({ slot }) => scenario.slots[slot] as Slot);
  let frames = 2 * root.pages;
  for (const slot of [...scenario.slots, ...moved]) {
    for (let level = root.startLevel; level < LAST_LEVEL; level++) {
      const reach = geometry.sizeOf(level);
      frames += Math.ceil(slot.bytes / reach) + 1;
    }
  }
  const caches = scenario.vcpus + (scenario.vms ?? 1) + moved.length;
  const tables = (scenario.vms ?? 1) * (scenario.twin ? 2 : 1);
  return caches * CACHE_PAGES + tables * frames;
}
