/** A linked page has 1 reference and 1 for each valid entry, whenever nobody holds `mmu_lock`. */
import { expect, test } from 'vitest';
import { CheckerLab, R, entryAt, leaf } from './lab.ts';

const LEAF = entryAt(1, 7);

test('between two steps of one hold the count may differ', () => {
  const lab = new CheckerLab();
  lab.lock(0);
  lab.store(0, LEAF, leaf(1, R));
  lab.count(1, 2);
  lab.unlock(0);
  expect(lab.verdicts).toEqual([]);
});

test.each([1, 3])('when the lock is free it has to be right: %i', (references) => {
  const lab = new CheckerLab();
  lab.lock(0);
  lab.store(0, LEAF, leaf(1, R));
  lab.count(1, references);
  expect(lab.findings).toEqual([]);
  lab.unlock(0);
  expect(lab.findings.map(({ verdict, message }) => `${verdict}: ${message}`)).toEqual([
    `table-count: table page 1 has ${references} references and 1 entries`,
  ]);
});

test('while another reader holds it nothing is looked at, and then all that changed', () => {
  const lab = new CheckerLab();
  lab.lock(0, 'shared');
  lab.lock(1, 'shared');
  lab.count(1, 2);
  lab.unlock(0, 'shared');
  expect(lab.findings).toEqual([]);
  lab.unlock(1, 'shared');
  expect(lab.verdicts).toEqual(['table-count']);
});

test('a page that nobody touched is looked at in the end', () => {
  const lab = new CheckerLab();
  lab.lock(0);
  lab.unlock(0);
  lab.count(0, 5);
  expect(lab.findings).toEqual([]);
  expect(lab.verdicts).toEqual(['table-count']);
});
