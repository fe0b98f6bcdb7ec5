/** Every frame of both zones is accounted for, and every reference count is what the tables say. */
import { drive } from '#port';
import { Memcache } from '../../kvm/memcache.ts';
import { hostAccounts } from '../../kvm/host/accounts.ts';
import type { HostMemory } from '../../kvm/host/host-memory.ts';
import type { Phys } from '../../machine/address.ts';
import type { FrameZone } from '../../machine/frames.ts';
import { memcacheFor, type World } from '../../workers/world.ts';
import type { TableScan } from './scan.ts';
import type { Finding } from './verify.ts';

/** References of table pages: 1 + counted entries (specification section 4.0). */
export function* referenceCounts(world: World, scan: TableScan): Iterable<Finding> {
  for (const [table, counted] of scan.counted) {
    const count = drive(world.memory.tables.countAt(table));
    if (count !== 1 + counted) {
      yield {
        verdict: 'reference-count',
        message: `the table page at word 0x${table.toString(16)} has ${count} references and ${counted} counted entries`,
      };
    }
  }
}

/**
 * Table pages are in a table or in a cache; guest frames and places in swap are the hosts', with their references and no pin. `world` is that of
 * any VM, `hosts` and `scans` are of all.
 */
export function* frameAccounts(
  world: World,
  hosts: readonly HostMemory[],
  scans: readonly TableScan[],
): Iterable<Finding> {
  const { layout, memory } = world;
  const ofVms = [layout, ...layout.otherVms];
  let cached = ofVms.reduce(
    (sum, { splitCache }) => sum + new Memcache(splitCache, memory.tables).pages,
    0,
  );
  for (let vcpu = 0; vcpu < world.layout.vcpus; vcpu++) cached += memcacheFor(world, vcpu).pages;
  const inTables = scans.reduce((sum, { counted }) => sum + counted.size, 0);
  const accounts = hosts.map(({ mm }) => drive(hostAccounts(mm)));
  // VMs share no frame: no number is counted twice.
  const frames = new Map(accounts.flatMap((host) => [...host.frames]));
  const inSwap = accounts.reduce((sum, { swap }) => sum + swap.size, 0);
  yield* zoneAccount('table', world.memory.tables, inTables + cached);
  yield* zoneAccount('guest', world.memory.guest, frames.size);
  yield* zoneAccount('swap', world.vm.parts.host.mm.swap, inSwap);
  yield* pins(world.memory.guest, frames);
}

function* zoneAccount(name: string, zone: FrameZone, known: number): Iterable<Finding> {
  const { used, free } = zone.accounts();
  if (used - free === known) return;
  yield {
    verdict: 'frame-lost',
    message: `${used - free} ${name} frames are allocated and ${known} are accounted for`,
  };
}

function* pins(zone: FrameZone, frames: ReadonlyMap<Phys, number>): Iterable<Finding> {
  for (const [frame, references] of frames) {
    const count = drive(zone.count(frame));
    if (count === references) continue;
    yield {
      verdict: 'frame-pinned',
      message: `guest frame 0x${frame.toString(16)} has ${count} references after the run, not ${references}`,
    };
  }
}
