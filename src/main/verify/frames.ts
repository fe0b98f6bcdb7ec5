/** Every frame of both zones is accounted for, and every reference count is what the tables say. */
import { drive } from '#port';
import { hostAccounts } from '../../kvm/host/accounts.ts';
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

/** Table pages are in the table or in a cache; guest frames and places in swap are the host's, with its references and no pin. */
export function* frameAccounts(world: World, scans: readonly TableScan[]): Iterable<Finding> {
  let cached = 0;
  for (let vcpu = 0; vcpu < world.layout.vcpus; vcpu++) cached += memcacheFor(world, vcpu).pages;
  const inTables = scans.reduce((sum, { counted }) => sum + counted.size, 0);
  const { mm } = world.vm.parts.host;
  const host = drive(hostAccounts(mm));
  yield* zoneAccount('table', world.memory.tables, inTables + cached);
  yield* zoneAccount('guest', world.memory.guest, host.frames.size);
  yield* zoneAccount('swap', mm.swap, host.swap.size);
  yield* pins(world.memory.guest, host.frames);
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
