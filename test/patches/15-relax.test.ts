/** Patch 15: permissions are relaxed in place. */
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import { stage2Mkold, stage2RelaxPerms } from '../../src/pgtable/stage2-attributes.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, TestTable } from '../pgtable/helpers.ts';
import { Guest, inFaults, Lab, only, RAM } from '../support/lab.ts';

const { r, w, x } = Prot;
const PROTS = [0, r, w, x, r | w, r | x, w | x, r | w | x] as const;
const LEAVES = [
  ['page', 3, PAGE],
  ['2M block', 2, M2],
  ['1G block', 1, G1],
] as const;

/** Permissions of a leaf: R, W, and not XN. */
function protOf(value: bigint): number {
  const isX = ((value >> 54n) & 1n) === 0n;
  return ((value & 0x40n) === 0n ? 0 : r) | ((value & 0x80n) === 0n ? 0 : w) | (isX ? x : 0);
}

const PERMISSIONS = 0xc0n | (1n << 54n);

describe.each(LEAVES)('%s', (_name, level, size) => {
  const pairs = PROTS.flatMap((has) => PROTS.map((wants) => [has, wants] as const));

  test.each(pairs)(
    'with permissions %d, relaxed by %d: added in place, none removed',
    (...pair) => {
      const [has, wants] = pair;
      const table = new TestTable();
      table.map(size, size, 2 * G1, has);
      // AF, address and memory type are not its business.
      drive(stage2Mkold(table.pgt, size));
      const before = table.lookup(size).value;
      table.ops.log.length = 0;
      const ipa = 2 * size - PAGE;
      const stores = table.storesOf(() => stage2RelaxPerms(table.pgt, ipa, wants));
      const after = table.lookup(size).value;
      expect(protOf(after)).toBe(has | wants);
      expect(after & ~PERMISSIONS).toBe(before & ~PERMISSIONS);
      // No break: the only store, if any, is of the new leaf.
      expect(stores.map(({ value }) => value)).toEqual(after === before ? [] : [after]);
      expect(table.ops.log).toEqual(['begin', 'end', `tlbi ${ipa.toString(16)} hint ${level}`]);
      table.checkPages();
    },
  );
});

test('without a leaf nothing is stored; the TLBI has no hint', () => {
  const table = new TestTable();
  expect(table.storesOf(() => stage2RelaxPerms(table.pgt, M2, r | w))).toEqual([]);
  expect(table.logged()).toEqual(['tlbi 200000 hint 0']);
});

test('an execution of a page that may not be executed: one store, one TLBI by IPA at level 3', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  drive(guest.touch(RAM, 'write'));
  const events = lab.run(new Scripted([]), [() => guest.touch(RAM, 'exec')]);
  const fault = inFaults(events, 0);
  expect(lab.entryStores(fault)).toHaveLength(1);
  expect(only(fault, EventKind.tlbi)).toMatchObject([
    { at: TlbiKind.ipa, newLo: 3, newHi: RAM / PAGE },
  ]);
  // Executable, and writable as before.
  expect(lab.leaf(RAM)).toEqual({ level: 3, hex: '00000000800007ff' });
  expect(drive(guest.touch(RAM, 'write'))).toBe(0);
});
