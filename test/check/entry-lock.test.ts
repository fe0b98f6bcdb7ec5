/** Who stores to an entry, under which side of `mmu_lock`, in which way: docs/locked-entries.md. */
import { describe, expect, test } from 'vitest';
import { CheckerLab, EMPTY, LOCKED, R, RW, entryAt, leaf } from './lab.ts';

const LEAF = entryAt(1, 7);
const IPA = 7 * 4096;

/** A table with one leaf, made alone. */
function withLeaf(edits: 'store' | 'swap'): CheckerLab {
  const lab = new CheckerLab(edits);
  lab.lock(0);
  lab.store(0, LEAF, leaf(1, R));
  lab.count(1, 2);
  lab.unlock(0);
  return lab;
}

describe.each(['store', 'swap'] as const)('generations that %s', (edits) => {
  test('nobody changes an entry without the lock', () => {
    const lab = withLeaf(edits);
    lab.swap(1, LEAF, leaf(1, RW));
    expect(lab.verdicts).toEqual(['entry-lock']);
  });

  test('alone in the table anything goes', () => {
    const lab = withLeaf(edits);
    lab.lock(1);
    lab.store(1, LEAF, EMPTY);
    lab.flush(1, IPA, 3);
    lab.count(1, 1);
    lab.unlock(1);
    expect(lab.verdicts).toEqual([]);
  });

  test.each<[string, (lab: CheckerLab) => void, boolean]>([
    ['an edit by a store', (lab) => lab.store(1, LEAF, leaf(1, RW)), edits === 'store'],
    ['an edit by compare-and-swap', (lab) => lab.swap(1, LEAF, leaf(1, RW)), true],
    ['a load that changes nothing', (lab) => lab.load(1, LEAF), true],
  ])('beside other readers: %s', (_, change, isRight) => {
    const lab = withLeaf(edits);
    lab.lock(1, 'shared');
    change(lab);
    lab.unlock(1, 'shared');
    expect(lab.verdicts).toEqual(isRight ? [] : ['entry-lock']);
  });
});

describe('beside other readers, through LOCKED', () => {
  test('in by compare-and-swap, out by its owner', () => {
    const lab = new CheckerLab();
    lab.lock(1, 'shared');
    lab.swap(1, LEAF, LOCKED);
    lab.count(1, 2);
    lab.store(1, LEAF, leaf(1, R));
    lab.unlock(1, 'shared');
    expect(lab.verdicts).toEqual([]);
  });

  test.each<[string, (lab: CheckerLab) => void, string]>([
    [
      'in by a store',
      (lab) => lab.store(1, LEAF, LOCKED),
      'beside other readers, without compare-and-swap',
    ],
    [
      'not at all',
      (lab) => lab.swap(1, LEAF, leaf(1, R)),
      'beside other readers, not through LOCKED',
    ],
    [
      'out by another',
      (lab) => {
        lab.lock(2, 'shared');
        lab.swap(2, LEAF, LOCKED);
        lab.swap(1, LEAF, leaf(1, R));
      },
      'over the LOCKED of agent 2',
    ],
  ])('%s', (_, change, what) => {
    const lab = new CheckerLab();
    lab.lock(1, 'shared');
    change(lab);
    expect(lab.findings.map(({ verdict }) => verdict)).toEqual(['entry-lock']);
    expect(lab.findings[0]?.message).toMatch(new RegExp(`^agent 1 stored .* ${what}$`, 'u'));
  });

  test('and left behind', () => {
    const lab = new CheckerLab();
    lab.lock(1, 'shared');
    lab.swap(1, LEAF, LOCKED);
    lab.unlock(1, 'shared');
    expect(lab.findings).toMatchObject([
      { verdict: 'entry-lock', message: 'agent 1 unlocked with an entry LOCKED' },
    ]);
  });

  test('in generations that have no LOCKED', () => {
    const lab = new CheckerLab('store');
    lab.lock(1, 'shared');
    lab.swap(1, LEAF, leaf(1, R));
    expect(lab.findings.map(({ verdict }) => verdict)).toEqual(['entry-lock']);
  });
});
