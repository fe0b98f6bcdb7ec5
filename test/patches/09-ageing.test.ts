/** Patch 9: ageing. The access flag is set, cleared and read on a leaf of any size, in one walk, without TLB maintenance. */
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive, type Op } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import type { Phys } from '../../src/machine/address.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import { FSC } from '../../src/machine/syndrome.ts';
import { getLeaf } from '../../src/pgtable/get-leaf.ts';
import type { Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2IsYoung, stage2Mkold, stage2Mkyoung } from '../../src/pgtable/stage2-attributes.ts';
import { stage2Init } from '../../src/pgtable/stage2-init.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { LimitedCache, RecordingOps, RW } from '../pgtable/helpers.ts';
import { Guest, inFaults, Lab, only, RAM } from '../support/lab.ts';
import { TinyMachine, configOf } from '../support/tiny-machine.ts';

/** Every size of leaf: of which granule (log2), at which level, its bytes. */
const LEAVES = [
  ['4K page', 12, 3, 2 ** 12],
  ['2M block', 12, 2, 2 ** 21],
  ['1G block', 12, 1, 2 ** 30],
  ['16K page', 14, 3, 2 ** 14],
  ['32M block', 14, 2, 2 ** 25],
  ['64K page', 16, 3, 2 ** 16],
  ['512M block', 16, 2, 2 ** 29],
] as const;

test.each(LEAVES)(
  '%s: cleared, tested, set; one walk each, no TLBI',
  (_name, shift, level, size) => {
    const machine = new TinyMachine({ tableBytes: 2 ** shift });
    const zone = machine.main.memory.tables;
    const ops = new RecordingOps(zone);
    const geometry = new Geometry(shift);
    const pgt = drive(stage2Init(configOf(36, geometry), ops));
    const cache = new LimitedCache(zone, Infinity);
    drive(stage2Map(pgt, { ipa: size, size, phys: (4 * size) as Phys, prot: RW, cache }));
    const young = drive(getLeaf(pgt, size));
    if (typeof young === 'string') throw new Error(young);
    expect(young.level).toBe(level);

    const logOf = <T>(op: Op<T>): [T, string[]] => {
      ops.log.length = 0;
      return [drive(op), [...ops.log]];
    };
    // Any address of the leaf will do.
    const ipa = 2 * size - 1;
    const oneWalk = ['begin', 'end'];
    expect(logOf(stage2IsYoung(pgt, ipa))).toEqual([true, oneWalk]);
    expect(logOf(stage2Mkold(pgt, ipa))).toEqual([young.entry, oneWalk]);
    expect(logOf(stage2IsYoung(pgt, ipa))).toEqual([false, oneWalk]);
    const [old, log] = logOf(stage2Mkyoung(pgt, ipa));
    expect(old.toBigInt()).toBe(young.entry.toBigInt() - 0x400n);
    // A DSB ISHST stands behind the walk.
    expect(log).toEqual([...oneWalk, 'publish']);
    expect(drive(getLeaf(pgt, ipa))).toEqual(young);
  },
);

test('an aged leaf stays in the TLBs; who walks to it takes an access flag fault and makes it young', () => {
  const lab = new Lab();
  const [hit, miss] = [new Guest(lab, 0), new Guest(lab, 1)];
  drive(hit.touch(RAM, 'write'));
  const pgt = drive(lab.view().vm.pgt()) as Pgtable;
  const ageing = lab.run(new Scripted([]), [() => stage2Mkold(pgt, RAM)]);
  expect(only(ageing, EventKind.walkBegin)).toHaveLength(1);
  expect(only(ageing, EventKind.tlbi)).toEqual([]);
  expect(lab.leaf(RAM).hex).toBe('00400000800003ff');
  expect(drive(hit.touch(RAM, 'write'))).toBe(0);

  const events = lab.run(new Scripted([]), [() => miss.touch(RAM, 'write')]);
  expect([miss.vcpu.fault.type, miss.results]).toEqual([FSC.access, ['resume']]);
  const fault = inFaults(events, 0);
  expect(only(fault, EventKind.walkBegin)).toHaveLength(1);
  expect(lab.entryStores(fault)).toHaveLength(1);
  expect(only(fault, EventKind.tlbi)).toEqual([]);
  expect(lab.leaf(RAM).hex).toBe('00400000800007ff');
});
