/** Patch 12: write-protection of a slot by the library. TLBs keep W until one flush, however many pages there are. */
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { enableDirtyLog } from '../../src/workers/host-operations.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import { Guest, Lab, only, PAGE, RAM } from '../support/lab.ts';

const PAGES = 5;
const profiles = ['legacy', '5.10'] as const;

function writtenLab(kvm: (typeof profiles)[number]): { lab: Lab; guest: Guest } {
  const lab = new Lab({ kvm });
  const guest = new Guest(lab, 0);
  for (let page = 0; page < PAGES; page++) drive(guest.touch(RAM + page * PAGE, 'write'));
  return { lab, guest };
}

test.each(profiles)('%s: five pages, one walk, five stores, one flush', (kvm) => {
  const { lab } = writtenLab(kvm);
  const host = lab.view();
  const events = lab.run(new Scripted([]), [() => enableDirtyLog(host, lab.slot)]);
  expect(only(events, EventKind.walkBegin)).toHaveLength(1);
  expect(lab.entryStores(events)).toHaveLength(PAGES);
  expect(only(events, EventKind.tlbi).map(({ at }) => at)).toEqual([TlbiKind.vmid]);
});

test.each(profiles)('%s: until the flush a TLB grants writes that the table does not', (kvm) => {
  const { lab, guest } = writtenLab(kvm);
  const host = lab.view();
  const faults: number[] = [];
  const script = new Scripted([
    {
      agent: 1,
      until: ({ kind, at }) =>
        kind === EventKind.signal && at === lab.world.layout.words.tlbiPosted,
    },
    { agent: 0, toEnd: true },
    { agent: 1, toEnd: true },
  ]);
  lab.run(script, [
    function* write() {
      faults.push(yield* guest.touch(RAM, 'write'));
    },
    () => enableDirtyLog(host, lab.slot),
  ]);
  expect(lab.leaf(RAM).hex).toBe('004000008000077f');
  faults.push(drive(guest.touch(RAM, 'write')));
  // Without a fault the write was not seen; the harvest that follows the flush could not have reported it, and need not: nothing was
  // reported to anybody before.
  expect([faults, lab.slot.isDirty(0)]).toEqual([[0, 1], true]);
});
