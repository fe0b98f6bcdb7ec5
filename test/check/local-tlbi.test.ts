/** What a CPU that invalidated a page for itself keeps of it. */
import { beforeEach, expect, test } from 'vitest';
import { type CheckerLab, IPA, LEAF, R, RW, labWithLeaf, leaf } from './lab.ts';

let lab: CheckerLab;

/** Both CPUs are in the guest, whose leaf has just got W. */
beforeEach(() => {
  lab = labWithLeaf(R);
  lab.store(0, LEAF, leaf(1, RW));
  lab.unlock(0);
  lab.enter(0);
  lab.enter(1);
});

test.each<[string, () => void, readonly string[]]>([
  ['the CPU that invalidated, with less', () => lab.tlb('use', 0, IPA, leaf(1, R)), ['stale-tlb']],
  ['the CPU that invalidated, with all', () => lab.tlb('use', 0, IPA, leaf(1, RW)), []],
  ['another CPU, once more', () => lab.tlb('use', 1, IPA, leaf(1, R)), []],
])('used by %s', (_, use, verdicts) => {
  lab.tlbiLocal(0, IPA);
  use();
  expect(lab.verdicts).toEqual(verdicts);
});

test('nothing is known of another VMID, another page, or an entry that changed since', () => {
  lab.tlbiLocal(0, IPA, 6);
  lab.tlbiLocal(0, IPA + 4096);
  lab.tlb('use', 0, IPA, leaf(1, R));
  lab.tlbiLocal(0, IPA);
  lab.lock(1);
  lab.store(1, LEAF, leaf(1, R));
  lab.flush(1, IPA, 3);
  lab.store(1, LEAF, leaf(1, RW));
  lab.unlock(1);
  lab.tlb('use', 0, IPA, leaf(1, R));
  expect(lab.verdicts).toEqual([]);
});

test('nor of another execution', () => {
  lab.tlbiLocal(0, IPA);
  lab.reset();
  lab.lock(0);
  lab.store(0, LEAF, leaf(1, RW));
  lab.count(1, 2);
  lab.unlock(0);
  lab.tlb('use', 0, IPA, leaf(1, R));
  expect(lab.verdicts).toEqual([]);
});
