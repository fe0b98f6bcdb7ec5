/** The simulated world as one agent sees it: objects of its own over the words of all. */
import type { Op } from '#port';
import { PLAIN_POLICY } from '../kvm/abort-policy.ts';
import { HostMemory } from '../kvm/host/host-memory.ts';
import type { Pinned } from '../kvm/host/pinned.ts';
import { SharedTwin } from '../kvm/generations/shared-twin.ts';
import type { InvalidationGate } from '../kvm/generations/invalidation-gate.ts';
import { ReclaimingZone } from '../kvm/generations/reclaiming-zone.ts';
import { Memcache } from '../kvm/memcache.ts';
import { RwMmuLock, SpinMmuLock, type MmuLock, type MmuLockKind } from '../kvm/mmu-lock.ts';
import { Memslots, SlotFlag } from '../kvm/memslots.ts';
import { Notifier } from '../kvm/notifier.ts';
import { PROFILES, twinOf } from '../kvm/profile.ts';
import { PinnedRun } from '../kvm/pinned-run.ts';
import { RunQueue } from '../kvm/run-queue.ts';
import { SharedCpuRun, type PhysicalCpu } from '../kvm/shared-cpu-run.ts';
import { Stage2Mmu } from '../kvm/stage2-mmu.ts';
import { Stage2Root } from '../kvm/stage2-root.ts';
import { Twin } from '../kvm/twin.ts';
import { TwoStageMmu } from '../kvm/two-stage-mmu.ts';
import { HostAreas } from '../kvm/user-areas.ts';
import type { VcpuRun } from '../kvm/vcpu-run.ts';
import { ipaBitsOfType } from '../kvm/vm-type.ts';
import type { VmidAllocator } from '../kvm/vmid/vmid-allocator.ts';
import { Vm } from '../kvm/vm.ts';
import { Mutex } from '../locking/mutex.ts';
import { Rcu } from '../locking/rcu.ts';
import { RwLock } from '../locking/rw-lock.ts';
import { SpinLock } from '../locking/spin-lock.ts';
import { Srcu } from '../locking/srcu.ts';
import type { Hva, Phys } from '../machine/address.ts';
import { CPU_CACHE_BYTES, Cpu, type CpuOptions } from '../machine/cpu.ts';
import { FailingZone } from '../machine/failure-point.ts';
import { FrameZone, PhysicalMemory } from '../machine/frames.ts';
import { Interrupts } from '../machine/interrupts.ts';
import { geometryOf } from '../machine/shape.ts';
import { Speculation } from '../machine/speculation.ts';
import { Interconnect } from '../machine/tlbi.ts';
import { Failures } from './failures.ts';
import { layoutOfVm, memcacheOf, vmOfAgent, type Layout, type SlotLayout } from './layout.ts';
import { stage2Config, type Stage2Config } from '../pgtable/stage2-init.ts';
import { agesPages, movesPages, sharesCpus, type Scenario } from './scenario.ts';
import { requestRegionLocked } from './slot-request.ts';
import { loadSnapshots } from './snapshot.ts';
import { STATISTICS, type LockName, type RwLockName } from './statistics.ts';

/** VA_BITS of the kernel that the VM runs under. */
const HOST_VA_BITS = 48;

export interface World {
  readonly scenario: Scenario;
  readonly layout: Layout;
  readonly memory: PhysicalMemory;
  readonly interconnect: Interconnect;
  readonly vm: Vm;
  /** Of the tables of all VMs. */
  readonly tablesRcu: Rcu;
  readonly failures: Failures;
}

/** Builds the view of an agent, by its number, of its VM or another one; `shared` is the first VM's layout. Nothing shared is written. */
export function worldOf(
  scenario: Scenario,
  shared: Layout,
  agent: number,
  which: number = vmOfAgent(shared, agent),
): World {
  const layout = layoutOfVm(shared, which);
  const failures = new Failures(scenario, layout);
  const { points } = failures;
  const tables = new FrameZone(layout.tableZone, spinLock(layout, 'table_zone'));
  const tablesRcu = new Rcu({
    at: layout.tablesRcu,
    agents: layout.agents,
    agent,
    statistics: STATISTICS.tablesRcu,
  });
  const memory = new PhysicalMemory(
    new FailingZone(layout.guestZone, spinLock(layout, 'guest_zone'), points['guest-page']),
    new ReclaimingZone(
      layout.tableZone,
      { lock: spinLock(layout, 'table_zone'), rcu: tablesRcu },
      points['table-page'],
    ),
    // Nobody allocates there: any lock will do.
    new FrameZone(layout.deviceZone, spinLock(layout, 'guest_zone')),
  );
  const interconnect = new Interconnect(layout.interconnect, STATISTICS.tlbi);
  const { machine } = scenario;
  const geometry = geometryOf(machine);
  const {
    stage2,
    faults,
    Notifier: Subscriber,
    gateOf,
    ipaLimit,
    ...profile
  } = PROFILES[scenario.kvm];
  const gate = gateOf({
    count: layout.words.invalidationsOpen,
    lock: spinLock(layout, 'mn_invalidate_lock'),
  });
  const mmuLock = mmuLockOf(profile.mmuLock, layout);
  const sections = profile.sectionsOf({ rcu: tablesRcu, mmuLock });
  const Mmu = scenario.stage1 === undefined ? Stage2Mmu : TwoStageMmu;
  const mmu = new Mmu({
    tables: memory.tables,
    interconnect,
    vmid: layout.words.vmid,
    lastVcpus: layout.lastVcpus,
    cpus: layout.runQueue.cpus,
    walks: STATISTICS.walks,
    metLocked: STATISTICS.metLocked,
    sections,
    hasRangeTlbi: machine.features.tlbiRange,
    geometry,
  });
  const { paBits } = machine.features;
  const kernel = {
    pageShift: machine.pageShift,
    hostVaBits: HOST_VA_BITS,
    paBits,
    kernelPaBits: paBits,
  };
  const ipaBits = ipaBitsOfType(scenario.ipaBits, ipaLimit(kernel));
  if (ipaBits === 'invalid') throw new Error(`no VM of ${scenario.ipaBits} bits of IPA`);
  const config = stage2Config(geometry, ipaBits, machine.features);
  const twin = scenario.twin ? twinFor(scenario, layout, config, tables) : null;
  const host = hostMemoryOf(scenario, layout, memory.guest, { failures, agent });
  const vm = new Vm({
    geometry,
    features: machine.features,
    config,
    memory,
    mmu,
    stage2: twin ?? stage2,
    faults,
    twin,
    mmuLock,
    notifier: new Notifier({
      sequence: layout.words.notifierSequence,
      count: layout.words.notifierCount,
      mmuLock,
    }),
    sections,
    preparation: profile.preparation,
    splitter: profile.splitterOf(new Memcache(layout.splitCache, memory.tables)),
    gate,
    memslots: memslotsOf(layout, agent, gate),
    dirtyLogMode: scenario.dirtyLog,
    areas: new HostAreas(host),
    policy: PLAIN_POLICY,
    prepare: points.prepare,
    host,
    root: new Stage2Root({
      word: layout.words.stage2Root,
      zone: layout.tableZone,
      config,
      ops: mmu,
    }),
  });
  host.subscribe(new Subscriber(vm));
  return { scenario, layout, memory, interconnect, vm, tablesRcu, failures };
}

/**
 * A host that gives every page a frame of its own at once, where a read would map the zero page: where the host moves no pages, a run is checked
 * leaf by leaf.
 */
class EagerHost extends HostMemory {
  override *pin(hva: Hva): Op<Pinned> {
    return yield* super.pin(hva, true);
  }
}

/** The host's user memory in frames of this zone, as an agent sees it. */
export function hostMemoryOf(
  scenario: Scenario,
  layout: Layout,
  frames: FrameZone,
  { failures, agent }: { readonly failures: Failures; readonly agent: number },
): HostMemory {
  const { points } = failures;
  const Host = movesPages(scenario) ? HostMemory : EagerHost;
  return new Host({
    layout: layout.host,
    frames,
    swap: new FailingZone(layout.swapZone, spinLock(layout, 'swap_zone'), points['swap-place']),
    mmapLock: rwLock(layout, 'mmap_lock'),
    pageTableLock: spinLock(layout, 'page_table_lock'),
    copies: points.copy,
    agent,
    userfaultLock: STATISTICS.userfaultLock,
  });
}

/** A table whose faults share the lock has a twin with a lock of its own. */
function twinFor(
  scenario: Scenario,
  layout: Layout,
  config: Stage2Config,
  tables: FrameZone,
): Twin {
  const { mmuLock, stage2 } = PROFILES[scenario.kvm];
  const options = {
    live: stage2,
    other: PROFILES[twinOf(scenario.kvm)].stage2,
    config,
    tables,
    root: layout.words.twinRoot,
    differences: layout.words.twinDifferences,
    accessFlag: agesPages(scenario) ? 'ignored' : 'exact',
  } as const;
  if (mmuLock === 'spin') return new Twin(options);
  return new SharedTwin({ ...options, lock: spinLock(layout, 'twin_lock') });
}

function mmuLockOf(kind: MmuLockKind, layout: Layout): MmuLock {
  if (kind === 'rw') return new RwMmuLock(rwLock(layout, 'mmu_lock'));
  return new SpinMmuLock(spinLock(layout, 'mmu_lock'));
}

function rwLock(layout: Layout, name: RwLockName): RwLock {
  return new RwLock(layout.rwLocks[name], layout.agents, STATISTICS.rwLocks[name]);
}

function spinLock(layout: Layout, name: LockName): SpinLock {
  return new SpinLock(layout.locks[name], layout.agents, STATISTICS.locks[name]);
}

function memslotsOf(layout: Layout, agent: number, gate: InvalidationGate): Memslots {
  const { agents } = layout;
  return new Memslots({
    layout: layout.memslots,
    slotsLock: new Mutex(layout.slotsLock, agents, STATISTICS.slotsLock),
    srcu: new Srcu({ at: layout.slotsSrcu, agents, agent, statistics: STATISTICS.slotsSrcu }),
    gate,
  });
}

/** Creates the VM: its table, then the slots of the scenario. False without memory for the root, or for a snapshot. User space tries
 * again what fails on purpose. */
export function* createVm(world: World): Op<boolean> {
  const { scenario, layout, vm, failures } = world;
  const isFirst = yield* vm.initStage2();
  if (!isFirst && !(failures.struck > 0 && (yield* vm.initStage2()))) return false;
  const { slotsLock } = vm.parts.memslots;
  yield* slotsLock.lock();
  for (const [id, { base: ipa, bytes, logging, isReadonly = false }] of scenario.slots.entries()) {
    const { hva } = layout.slots[id] as SlotLayout;
    const flags = (logging ? SlotFlag.logDirty : 0) | (isReadonly ? SlotFlag.readonly : 0);
    const outcome = yield* requestRegionLocked(world, { id, ipa, hva, bytes, flags });
    if (outcome !== 'ok') throw new Error(`slot ${id} of ${scenario.name}: ${outcome}`);
  }
  yield* slotsLock.unlock();
  yield* ownDevices(layout, vm);
  return yield* loadSnapshots(world);
}

/** Device registers are their pages' for good. */
function* ownDevices(layout: Layout, { parts }: Vm): Op<void> {
  const { host, memory, geometry } = parts;
  for (const { hva, bytes, kind, pgoff } of layout.host.vmas) {
    if (kind !== 'pfnmap') continue;
    const tags = host.ownerTags(hva, bytes / geometry.pageBytes);
    for (const [i, tag] of tags.entries())
      yield* memory.devices.own(((pgoff + i) * geometry.pageBytes) as Phys, tag);
  }
}

/** What physical CPU `id` is made of. */
function cpuOptions(world: World, id: number): CpuOptions {
  return {
    id,
    memory: world.memory,
    geometry: world.vm.parts.geometry,
    features: world.scenario.machine.features,
    interconnect: world.interconnect,
    caches: world.layout.cpuCaches + id * CPU_CACHE_BYTES,
  };
}

/** Physical CPU `id`. */
export function cpuOf(world: World, id: number): Cpu {
  return new Cpu(cpuOptions(world, id));
}

/** All of them, for a vCPU that may run on any. */
export function physicalCpus(world: World): PhysicalCpu[] {
  const { interconnect, layout } = world;
  return Array.from({ length: layout.runQueue.cpus }, (_, id) => ({
    cpu: cpuOf(world, id),
    interrupts: new Interrupts(interconnect, id),
    speculation: new Speculation(cpuOptions(world, id)),
  }));
}

/**
 * A vCPU. Alone on its CPU, in the only VM of the machine, it never moves and never gets another VMID: that its CPU holds nothing of
 * another vCPU (invariant 27) and that no two VMs have one VMID (invariant 26) is then no question of schedules.
 */
export function vcpuRunOf(world: World, id: number): VcpuRun {
  const { vm, scenario } = world;
  const vmids = vmidAllocatorOf(world);
  if (sharesCpus(scenario))
    return new SharedCpuRun({
      id,
      vm,
      cpus: physicalCpus(world),
      queue: runQueueOf(world),
      vmids,
    });
  const speculation = new Speculation(cpuOptions(world, id));
  return new PinnedRun({ id, vm, cpu: cpuOf(world, id), speculation, vmids });
}

/** Who runs on which CPU. */
export function runQueueOf({ layout }: World): RunQueue {
  return new RunQueue(layout.runQueue, spinLock(layout, 'run_queue'));
}

/** Who gives out VMIDs to all VMs. */
export function vmidAllocatorOf({ scenario, layout, interconnect }: World): VmidAllocator {
  const { kvm, machine } = scenario;
  return PROFILES[kvm].vmids({
    layout: layout.vmids,
    vmidBits: machine.features.vmidBits,
    lock: spinLock(layout, 'vmid_lock'),
    interconnect,
  });
}

/** The memcache of a vCPU. */
export function memcacheFor(world: World, vcpu: number): Memcache {
  return new Memcache(memcacheOf(world.layout, vcpu), world.memory.tables);
}
