/** Entries change through an invalid value and a complete TLBI: each step left out, and none. */
import { beforeEach, describe, expect, test } from 'vitest';
import {
  CheckerLab,
  EMPTY,
  IPA,
  LEAF,
  LOCKED,
  R,
  RW,
  block,
  entryAt,
  labWithLeaf,
  leaf,
  table,
} from './lab.ts';

let lab: CheckerLab;

beforeEach(() => {
  lab = labWithLeaf(R);
});

/** From the leaf to another page, but for the steps that are left out; then the lock is given back. */
function replace(without: readonly string[], level = 3): readonly string[] {
  const steps: readonly (readonly [string, () => void])[] = [
    ['break', () => lab.store(0, LEAF, EMPTY)],
    ['dsb', () => lab.dsb(0)],
    ['tlbi', () => lab.tlbiIpa(0, IPA, level)],
    ['complete', () => lab.dsbComplete(0)],
    ['make', () => lab.store(0, LEAF, leaf(2, R))],
    ['unlock', () => lab.unlock(0)],
  ];
  for (const [name, step] of steps) if (!without.includes(name)) step();
  return lab.verdicts;
}

describe('a leaf is replaced', () => {
  test.each<[string, readonly string[]]>([
    ['break', ['break-before-make']],
    ['dsb', ['break-before-make', 'break-not-completed']],
    ['tlbi', ['break-before-make', 'break-not-completed']],
    ['complete', ['break-before-make', 'break-not-completed']],
  ])('without its %s', (step, verdicts) => {
    // The invalidation without a break is complete for what the make broke: only the first is wrong.
    const rest = step === 'break' ? ['break', 'dsb', 'tlbi', 'complete', 'unlock'] : [step];
    expect(replace(rest)).toEqual(verdicts);
  });

  test('in all steps', () => {
    expect(replace([])).toEqual([]);
  });

  test('by a TLBI with the hint of another level, or without any', () => {
    expect(replace([], 2)).toEqual(['break-before-make', 'break-not-completed']);
    lab.reset();
    lab.lock(0);
    lab.store(0, LEAF, leaf(1, R));
    lab.count(1, 2);
    expect(replace([], 0)).toEqual([]);
  });
});

test.each<[string, number, boolean]>([
  ['permissions', leaf(1, RW)[0], true],
  ['AF', leaf(1, R & ~0x400)[0], true],
  ['memory type', leaf(1, R)[0] | 0x4, false],
  ['address', leaf(3, R)[0], false],
])('in place of a leaf: %s', (_, lo, isRight) => {
  lab.store(0, LEAF, [lo, 0]);
  expect(lab.verdicts).toEqual(isRight ? [] : ['break-before-make']);
});

/** The table becomes a block, after whatever flush. */
function collapse(flush: () => void): readonly string[] {
  lab.store(0, entryAt(0, 0), EMPTY);
  flush();
  lab.store(0, entryAt(0, 0), block(R));
  return lab.verdicts;
}

function flushVmid(vmid?: number): void {
  lab.dsb(0);
  lab.tlbiVmid(0, vmid);
  lab.dsbComplete(0);
}

describe('a table becomes a block', () => {
  test('over leaves that are still cached', () => {
    // It names the table and what is cached of it, not the leaf in it.
    expect(collapse(() => lab.flush(0, 0, 0))).toEqual(['break-before-make']);
  });

  test('when nothing of the VMID is cached', () => {
    expect(collapse(flushVmid)).toEqual([]);
  });

  test('with the VMID of another VM', () => {
    expect(collapse(() => flushVmid(6))).toEqual(['break-before-make']);
  });
});

test('the lock is given back while what was broken may be cached', () => {
  lab.store(0, LEAF, EMPTY);
  lab.count(1, 1);
  lab.unlock(0);
  expect(lab.verdicts).toEqual(['break-not-completed']);
});

test('what was broken elsewhere is no reason against a make here', () => {
  lab.store(0, LEAF, EMPTY);
  lab.store(0, entryAt(1, 8), leaf(2, R));
  lab.flush(0, IPA, 3);
  lab.unlock(0);
  expect(lab.verdicts).toEqual([]);
});

test('a table is linked where nothing was', () => {
  lab.alloc(0, 2);
  lab.store(0, entryAt(0, 1), table(2));
  lab.count(0, 3);
  lab.unlock(0);
  expect(lab.verdicts).toEqual([]);
});

test('a leaf that lost W, of which TLBs may not know yet, is broken and replaced', () => {
  lab.store(0, LEAF, leaf(1, RW));
  lab.store(0, LEAF, leaf(1, R));
  lab.unlock(0);
  lab.lock(1);
  lab.store(1, LEAF, EMPTY);
  lab.flush(1, IPA, 3);
  lab.store(1, LEAF, leaf(2, R));
  lab.unlock(1);
  expect(lab.verdicts).toEqual([]);
});

test('others give the lock back while a reader is between break and make', () => {
  lab.unlock(0);
  lab.lock(0, 'shared');
  lab.lock(1, 'shared');
  lab.swap(0, LEAF, LOCKED);
  lab.unlock(1, 'shared');
  expect(lab.findings).toEqual([]);
  lab.unlock(0, 'shared');
  expect(lab.findings.map(({ verdict }) => verdict)).toContain('break-not-completed');
});

describe('of a guest with stage 1 on, a leaf that moves is gone', () => {
  const steps: readonly (readonly [string, () => void])[] = [
    ['break', () => lab.store(0, LEAF, EMPTY)],
    ['dsb', () => lab.dsb(0)],
    ['tlbi', () => lab.tlbiIpa(0, IPA, 3)],
    ['complete', () => lab.dsbComplete(0)],
    ['stage 1', () => lab.tlbiStage1(0)],
    ['complete again', () => lab.dsbComplete(0)],
    ['make', () => lab.store(0, LEAF, leaf(2, R))],
    ['unlock', () => lab.unlock(0)],
  ];

  beforeEach(() => {
    lab = new CheckerLab('swap', true);
    lab.lock(0);
    lab.store(0, LEAF, leaf(1, R));
    lab.count(1, 2);
  });

  test.each(['dsb', 'tlbi', 'complete', 'stage 1', 'complete again'])('not without: %s', (left) => {
    for (const [name, step] of steps) if (name !== left) step();
    expect(lab.verdicts).toEqual(['break-before-make', 'break-not-completed']);
  });

  test('after the TLBI by IPA, and then that of stage 1', () => {
    for (const [, step] of steps) step();
    expect(lab.verdicts).toEqual([]);
  });

  test('after one TLBI of the VMID, which reaches both', () => {
    lab.store(0, LEAF, EMPTY);
    flushVmid();
    lab.store(0, LEAF, leaf(2, R));
    lab.unlock(0);
    expect(lab.verdicts).toEqual([]);
  });
});
