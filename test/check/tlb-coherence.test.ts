/** What CPUs cache and use is the present leaf, or allows less, or is on its way out. */
import { beforeEach, describe, expect, test } from 'vitest';
import { type CheckerLab, EMPTY, IPA, LEAF, R, RW, labWithLeaf, leaf } from './lab.ts';

let lab: CheckerLab;

beforeEach(() => {
  lab = labWithLeaf(RW);
  lab.unlock(0);
  lab.enter(1);
});

describe('a translation is used', () => {
  test.each<[string, () => void, readonly string[]]>([
    ['that the table has', () => lab.tlb('use', 1, IPA, leaf(1, RW)), []],
    ['with less permissions', () => lab.tlb('use', 1, IPA, leaf(1, R)), []],
    ['with more permissions', () => lab.tlb('use', 1, IPA, leaf(1, RW | 0x800)), ['stale-tlb']],
    ['of another page', () => lab.tlb('use', 1, IPA, leaf(2, RW)), ['stale-tlb']],
    ['of another level', () => lab.tlb('use', 1, IPA, leaf(1, RW), 2), ['stale-tlb']],
    [
      'of an address that nothing maps',
      () => lab.tlb('use', 1, IPA + 4096, leaf(1, RW)),
      ['stale-tlb'],
    ],
    ['by a CPU that is not in the guest', () => lab.tlb('use', 0, IPA, leaf(2, RW)), []],
  ])('%s', (_, use, verdicts) => {
    use();
    expect(lab.verdicts).toEqual(verdicts);
  });

  test('after the guest was left, of which nothing is known', () => {
    lab.exit(1);
    lab.tlb('use', 1, IPA, leaf(2, RW));
    expect(lab.verdicts).toEqual([]);
  });
});

function takeAway(): void {
  lab.lock(0);
  lab.store(0, LEAF, EMPTY);
  lab.count(1, 1);
}

describe('what was taken away is used', () => {
  test('until its invalidation is complete', () => {
    takeAway();
    lab.dsb(0);
    lab.tlbiIpa(0, IPA, 3);
    lab.tlb('use', 1, IPA, leaf(1, RW));
    lab.dsbComplete(0);
    lab.unlock(0);
    expect(lab.verdicts).toEqual([]);
  });

  test('and not after', () => {
    takeAway();
    lab.flush(0, IPA, 3);
    lab.unlock(0);
    lab.tlb('use', 1, IPA, leaf(1, RW));
    expect(lab.verdicts).toEqual(['stale-tlb']);
  });

  test.each(['use', 'fill'] as const)('W, and is there at a %s', (how) => {
    lab.lock(0);
    lab.store(0, LEAF, leaf(1, R));
    lab.tlb(how, 1, IPA, leaf(1, RW));
    lab.flush(0, IPA, 3);
    lab.unlock(0);
    expect(lab.verdicts).toEqual([]);
    lab.tlb(how, 1, IPA, leaf(1, RW));
    expect(lab.verdicts).toEqual(['stale-tlb']);
  });
});

test.each<[string, readonly [number, number], readonly string[]]>([
  ['a valid leaf with AF', leaf(1, RW), []],
  ['one without AF', leaf(1, RW & ~0x400), ['tlb-fill']],
  ['an invalid entry', [leaf(1, RW)[0] & ~1, 0], ['tlb-fill', 'stale-tlb']],
])('a fill from %s', (_, entry, verdicts) => {
  lab.tlb('fill', 1, IPA, entry);
  expect(lab.verdicts).toEqual(verdicts);
});
