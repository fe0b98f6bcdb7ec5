/** Patch 14: a trapped set/way operation cleans all slots by the library, once; TVM says when again. */
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive, type Op } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { CacheTraps } from '../../src/kvm/cache-toggle.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { Guest, Lab, only, PAGE } from '../support/lab.ts';
import { cleaned } from '../support/vm-of.ts';

const BASES = [0x4000_0000, 0x8000_0000];
const profiles = ['legacy', '5.10'] as const;
const slots = BASES.map((base) => ({ base, bytes: 4 * PAGE, logging: false }));

/** Two slots, the second page of each mapped. */
function mappedLab(lab: Lab): CacheTraps {
  const guest = new Guest(lab, 0);
  for (const base of BASES) drive(guest.touch(base + PAGE, 'write'));
  return new CacheTraps(guest.world.vm);
}

/** What an operation cleaned. */
function cleanedBy(lab: Lab, op: () => Op<void>): string[] {
  return cleaned(lab.run(new Scripted([]), [op]));
}

test.each(profiles)(
  '%s: the first set/way operation cleans what is mapped of every slot',
  (kvm) => {
    const lab = new Lab({ kvm, slots });
    const traps = mappedLab(lab);
    drive(traps.toggle(true));
    expect(traps.isTvmSet).toBe(false);
    const all = ['80000 1000', '80001 1000'];
    expect(cleanedBy(lab, () => traps.setWay())).toEqual(all);
    expect(traps.isTvmSet).toBe(true);
    // It is done: the guest's loop over sets and ways costs nothing more.
    expect(cleanedBy(lab, () => traps.setWay())).toEqual([]);
    // Caches off: trapped, because TVM is set.
    expect(cleanedBy(lab, () => traps.toggle(false))).toEqual(all);
    expect(cleanedBy(lab, () => traps.toggle(false))).toEqual([]);
    expect(traps.isTvmSet).toBe(true);
    // On again: the last time, then nothing traps.
    expect(cleanedBy(lab, () => traps.toggle(true))).toEqual(all);
    expect(traps.isTvmSet).toBe(false);
    expect(cleanedBy(lab, () => traps.toggle(false))).toEqual([]);
  },
);

test('with FWB nothing is cleaned and no walk made', () => {
  const machine = { ...PLAIN_4K, features: { ...PLAIN_4K.features, fwb: true } };
  const lab = new Lab({ machine, slots });
  const traps = mappedLab(lab);
  expect(traps.isTvmSet).toBe(false);
  const events = lab.run(new Scripted([]), [() => traps.setWay()]);
  expect([cleaned(events), only(events, EventKind.walkBegin)]).toEqual([[], []]);
});

test('a vCPU begins with caches off, and with TVM set: there is nothing to clean before they are on', () => {
  const lab = new Lab({ slots });
  const traps = mappedLab(lab);
  expect([traps.isTvmSet, cleanedBy(lab, () => traps.setWay())]).toEqual([true, []]);
});
