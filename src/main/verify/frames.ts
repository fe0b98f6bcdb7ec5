/** Every frame of both zones is accounted for, and every reference count is what the tables say. */
import { drive } from '#port';
import type { Gfn, Phys } from '../../machine/address.ts';
import { NO_FRAME, type FrameZone } from '../../machine/frames.ts';
import { memcacheFor, type World } from '../../workers/world.ts';
import type { TableScan } from './scan.ts';
import type { Finding } from './verify.ts';

/** References of table pages: 1 + counted entries (specification section 4.0). */
export function* referenceCounts(world: World, scan: TableScan): Generator<Finding, void, void> {
  for (const [table, counted] of scan.counted) {
    const count = drive(world.memory.tables.count(table));
    if (count !== 1 + counted) {
      yield {
        verdict: 'reference-count',
        message: `table page 0x${table.toString(16)} has ${count} references and ${counted} counted entries`,
      };
    }
  }
}

/** Table pages are in the table or in a cache; guest frames are the host's. */
export function* frameAccounts(world: World, scan: TableScan): Generator<Finding, void, void> {
  let cached = 0;
  for (let vcpu = 0; vcpu < world.layout.vcpus; vcpu++) cached += memcacheFor(world, vcpu).pages;
  yield* zoneAccount('table', world.memory.tables, scan.counted.size + cached);
  yield* zoneAccount('guest', world.memory.guest, yield* hostPages(world));
}

function* zoneAccount(name: string, zone: FrameZone, known: number): Generator<Finding, void, void> {
  const { used, free } = zone.accounts();
  if (used - free === known) return;
  yield {
    verdict: 'frame-lost',
    message: `${used - free} ${name} frames are allocated and ${known} are accounted for`,
  };
}

/** Counts the frames of the host table; each has the table's reference and no pin is left. */
function* hostPages(world: World): Generator<Finding, number, void> {
  const { memslots, host } = world.vm.parts;
  let pages = 0;
  for (const slot of memslots.slots) {
    for (let i = 0; i < slot.layout.pages; i++) {
      const frame: Phys = host.lookup(slot.hvaOf((slot.layout.baseGfn + i) as Gfn));
      if (frame === NO_FRAME) continue;
      pages++;
      const count = drive(world.memory.guest.count(frame));
      if (count === 1) continue;
      yield {
        verdict: 'frame-pinned',
        message: `guest frame 0x${frame.toString(16)} has ${count} references after the run, not 1`,
      };
    }
  }
  return pages;
}
