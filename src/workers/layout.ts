/**
 * The shared memory of a run: where every structure lives, computed from the scenario alone, so that every agent computes the
 * same. Sized once, never grown. Offset 0 holds nothing: it stands for "nowhere".
 */
import type { Word } from '#port';
import { PROFILES } from '../kvm/profile.ts';
import { HVA_BASE, hostMemoryLayout, type HostMemoryLayout } from '../kvm/host/layout.ts';
import type { VmaSpec } from '../kvm/host/vma.ts';
import { dirtyBitmapBytes } from '../kvm/dirty-bitmap.ts';
import { DIRTY_ENTRY_BYTES, type DirtyRingLayout } from '../kvm/dirty-ring.ts';
import { MEMCACHE_BYTES } from '../kvm/memcache.ts';
import { memslotArraysBytes, type MemslotsLayout } from '../kvm/memslots.ts';
import { GRANT_BYTES, placesOf, type RunQueueLayout } from '../kvm/run-queue.ts';
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
  GUEST_RAM_BASE,
  SWAP_BASE,
  TABLE_RAM_BASE,
  type ZoneLayout,
} from '../machine/frames.ts';
import { FAILURE_SITES, type FailureSite } from '../machine/failure-point.ts';
import { geometryOf, pageBytesOf } from '../machine/shape.ts';
import { ANSWER_BYTES, RING_BYTES, type InterconnectLayout } from '../machine/tlbi.ts';
import {
  does,
  harvestedSlots,
  hostAgentsOf,
  isDevice,
  mapsBlocks,
  type Scenario,
} from './scenario.ts';
import {
  LOCK_NAMES,
  RW_LOCK_NAMES,
  STATISTICS,
  type LockName,
  type RwLockName,
} from './statistics.ts';
import { areasOf, endOf } from './areas.ts';
import { Space, lines, placed } from './space.ts';
import { contentBytesOf, guestFrames, tableFrames, zone } from './zones.ts';
import { SLOT_LOG_BYTES, slotLogWords, type SlotLogLayout } from './slot-log.ts';
import { WORDS, type WordName } from './words.ts';

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
  /** 1 where tables are freed later, by the RCU daemon: where a block may replace one that others are in. */
  readonly daemons: number;
  /** vCPUs, then host agents, then daemons, then one for ordinary code that sets up and verifies. */
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
  /** Read sections of the shared walks of all VMs, and the tables that wait for their end. */
  readonly tablesRcu: Word;
  /** What the VMs after the first have for themselves. */
  readonly otherVms: readonly Pick<Layout, VmKeys>[];
  /** As many frames as there are pages, if the host swaps any out. */
  readonly swapZone: ZoneLayout;
}

/** Index of the host agent that conducts the run (the others follow it), and of the ordinary code around the run. */
export const hostAgent = (layout: Layout): number => layout.vcpus;
export const mainAgent = (layout: Layout): number => layout.agents - 1;

/** Whether an agent is the RCU daemon. */
export function isDaemon(
  { vcpus, hosts, daemons }: Pick<Layout, 'vcpus' | 'hosts' | 'daemons'>,
  agent: number,
): boolean {
  return agent >= vcpus + hosts && agent < vcpus + hosts + daemons;
}

/** VMs of a run. */
export function vmsOf({ otherVms }: Layout): number {
  return 1 + otherVms.length;
}

/** The VM of an agent: vCPUs and host agents are dealt out in turn; all others begin with the first. */
export function vmOfAgent(layout: Layout, agent: number): number {
  if (agent >= layout.vcpus + layout.hosts) return 0;
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

/**
 * Lays out the memory of a scenario, from the page `from` on. The result may exceed {@link MEMORY_BYTES_MAX}: the caller refuses it.
 */
export function layoutOf(scenario: Scenario, from: Word = FRAME_BYTES): Layout {
  const space = new Space(from);
  const { vcpus } = scenario;
  const cpus = scenario.machine.cpus ?? vcpus;
  const hosts = hostAgentsOf(scenario);
  const daemons = PROFILES[scenario.kvm].defersFrees && mapsBlocks(scenario) ? 1 : 0;
  const agents = vcpus + hosts + daemons + 1;
  const words = placed(space, Object.keys(WORDS) as WordName[], 8);
  const frameBytes = pageBytesOf(scenario.machine);
  const geometry = geometryOf(scenario.machine);
  const areas = areasOf(scenario, geometry, { from: HVA_BASE, agents });
  const pages = scenario.slots.reduce((sum, slot) => sum + slot.bytes / frameBytes, 0);
  const layout = {
    vcpus,
    hosts,
    daemons,
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
      splitCache: space.take(MEMCACHE_BYTES),
      memslots: memslotsLayout(space, scenario, words),
      host: hostMemoryLayout(space, { geometry, vmas: areas, frames: guestFrames(scenario) }),
      slotLogs: slotLogLayouts(space, scenario),
      log: space.takePages(first.vcpus * first.pages * LOG_ENTRY_BYTES),
    });
  }
  return others;
}

/** The id of the slot that an agent of the host may add. */
export function spareSlotId({ slots }: Layout, host: number): number {
  return slots.length + host;
}

/** Byte offset of a vCPU's memcache. */
export function memcacheOf(layout: Layout, vcpu: number): Word {
  return layout.memcaches + vcpu * lines(MEMCACHE_BYTES);
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
