/** Patch 11: write-protection of a range, whatever its leaves. */
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { FSC } from '../../src/machine/syndrome.ts';
import type { Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2Wrprotect } from '../../src/pgtable/stage2-attributes.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RO, RW, TestTable } from '../pgtable/helpers.ts';
import { Guest, Lab, only, RAM } from '../support/lab.ts';

const S2AP_W = 0x80n;

test('W goes from pages and blocks alike, R and all else stay, in one walk without a TLBI', () => {
  const table = new TestTable();
  table.map(M2 - 2 * PAGE, 2 * PAGE, G1 + M2 - 2 * PAGE);
  table.map(M2, M2, G1 + M2, RW | Prot.x);
  table.map(2 * M2, PAGE, G1, RO);
  table.map(2 * M2 + PAGE, PAGE, 0x900_0000, RW | Prot.device);
  table.map(G1, G1, 2 * G1);
  // Behind the range.
  table.map(2 * G1, PAGE, G1);
  const before = table.contents();
  table.ops.log.length = 0;
  // From the second page on.
  expect(drive(stage2Wrprotect(table.pgt, M2 - PAGE, 2 * G1 - M2 + PAGE))).toBe('ok');
  expect(table.ops.log).toEqual(['begin', 'end']);
  const after = table.contents();
  expect(after.leaves.map(({ level }) => level)).toEqual([3, 3, 2, 3, 3, 1, 3]);
  expect(after.leaves).toEqual(
    before.leaves.map((leaf, i) => {
      const isOutside = i === 0 || i === 6;
      return isOutside ? leaf : { ...leaf, value: leaf.value & ~S2AP_W };
    }),
  );
  expect(after.counted).toEqual(before.counted);
  table.checkPages();
});

test('an entry without W is not stored again', () => {
  const table = new TestTable();
  table.map(M2, PAGE, G1, RO);
  table.map(M2 + PAGE, PAGE, G1);
  expect(table.storesOf(() => stage2Wrprotect(table.pgt, M2, M2))).toHaveLength(1);
  expect(table.storesOf(() => stage2Wrprotect(table.pgt, M2, M2))).toEqual([]);
});

test('a CPU goes on writing through its TLB until the caller flushes; then it takes a permission fault', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  drive(guest.touch(RAM, 'write'));
  const { vm } = lab.view();
  const pgt = drive(vm.pgt()) as Pgtable;
  const events = lab.run(new Scripted([]), [() => stage2Wrprotect(pgt, RAM, M2)]);
  expect([only(events, EventKind.walkBegin).length, only(events, EventKind.tlbi)]).toEqual([1, []]);
  expect(lab.leaf(RAM).hex).toBe('004000008000077f');
  expect(drive(guest.touch(RAM, 'write'))).toBe(0);
  drive(vm.parts.mmu.tlbFlushVmid());
  expect(drive(guest.touch(RAM, 'read'))).toBe(0);
  expect(drive(guest.touch(RAM, 'write'))).toBe(1);
  expect([guest.vcpu.fault.type, guest.vcpu.fault.level]).toEqual([FSC.permission, 3]);
});
