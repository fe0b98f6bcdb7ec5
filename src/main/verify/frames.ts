/** Every frame of both zones is accounted for, and every reference count is what the tables say. */
import { drive } from '#port';
import type { Gfn, Phys } from '../../machine/address.ts';
import { NO_FRAME, type FrameZone } from '../../machine/frames.ts';
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

/** Table pages are in the table or in a cache; guest frames are the host's. */
export function* frameAccounts(world: World, scans: readonly TableScan[]): Iterable<Finding> {
  let cached = 0;
  for (let vcpu = 0; vcpu < world.layout.vcpus; vcpu++) cached += memcacheFor(world, vcpu).pages;
  const hostFrames = framesOfHost(world);
  const inTables = scans.reduce((sum, { counted }) => sum + counted.size, 0);
  yield* zoneAccount('table', world.memory.tables, inTables + cached);
  yield* zoneAccount('guest', world.memory.guest, hostFrames.length);
  yield* pins(world, hostFrames);
}

function* zoneAccount(name: string, zone: FrameZone, known: number): Iterable<Finding> {
  const { used, free } = zone.accounts();
  if (used - free === known) return;
  yield {
    verdict: 'frame-lost',
    message: `${used - free} ${name} frames are allocated and ${known} are accounted for`,
  };
}

function framesOfHost({ vm }: World): Phys[] {
  const { memslots, host } = vm.parts;
  return memslots.slots.flatMap((slot) =>
    Array.from({ length: slot.pages }, (_, i) =>
      host.lookup(slot.hvaOf((slot.baseGfn + i) as Gfn)),
    ).filter((frame) => frame !== NO_FRAME),
  );
}

/** A frame of the host has the host table's reference; no pin is left. */
function* pins(world: World, frames: readonly Phys[]): Iterable<Finding> {
  for (const frame of frames) {
    const count = drive(world.memory.guest.count(frame));
    if (count === 1) continue;
    yield {
      verdict: 'frame-pinned',
      message: `guest frame 0x${frame.toString(16)} has ${count} references after the run, not 1`,
    };
  }
}
