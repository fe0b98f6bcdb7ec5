/** Table pages are freed when nobody can come to them, and nobody comes to those that are free. */
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { CheckerLab, EMPTY, LOCKED, R, block, entryAt, table } from './lab.ts';

/** Takes page 1 out of the table, and frees it but for the steps that are left out. */
function remove(lab: CheckerLab, without: readonly string[] = []): readonly string[] {
  const steps: readonly (readonly [string, () => void])[] = [
    ['lock', () => lab.lock(0)],
    ['unlink', () => lab.store(0, entryAt(0, 0), EMPTY)],
    ['flush', () => lab.flush(0, 0, 0)],
    ['count', () => lab.count(0, 1)],
    ['free', () => lab.free(0, 1)],
    ['unlock', () => lab.unlock(0)],
  ];
  for (const [name, step] of steps) if (!without.includes(name)) step();
  return lab.verdicts;
}

describe('a table that nobody else walks is freed', () => {
  test.each<[string, readonly string[], readonly string[]]>([
    ['unlinked and flushed', [], []],
    ['linked', ['unlink', 'flush', 'count'], ['table-freed']],
    ['with a TLBI that is not complete', ['flush'], ['table-freed', 'break-not-completed']],
  ])('%s', (_, without, verdicts) => {
    expect(remove(new CheckerLab(), without)).toEqual(verdicts);
  });

  test('twice', () => {
    const lab = new CheckerLab();
    remove(lab);
    lab.free(0, 1);
    expect(lab.findings.map(({ message }) => message)).toEqual([
      'agent 0 freed table page 1, twice',
    ]);
  });

  test('while a section is open that began before', () => {
    const lab = new CheckerLab();
    lab.section(1, 'begin');
    expect(remove(lab)).toEqual(['table-freed']);
    expect(lab.findings[0]?.message).toBe(
      'agent 0 freed table page 1, in which agent 1 may be walking',
    );
  });

  test('of a twin, while a section of walks of the live table is open', () => {
    const lab = new CheckerLab('swap', false, false);
    lab.section(1, 'begin');
    expect(remove(lab)).toEqual([]);
  });

  /** The last: numbers of events wrap before the section begins. */
  test.each([0, 0x7fff_fffa])(
    'while a section is open that began after, from event %i',
    (first) => {
      const lab = new CheckerLab();
      lab.numberFrom(first);
      remove(lab, ['free', 'unlock']);
      lab.section(1, 'begin');
      lab.free(0, 1);
      lab.unlock(0);
      expect(lab.verdicts).toEqual([]);
    },
  );

  test.each([0x7fff_fffa, 0x7fff_fffd])(
    'while a section is open that began before numbers wrap, from event %i',
    (first) => {
      const lab = new CheckerLab();
      lab.numberFrom(first);
      lab.section(1, 'begin');
      expect(remove(lab)).toEqual(['table-freed']);
    },
  );
});

function replaced(): CheckerLab {
  const lab = new CheckerLab();
  lab.lock(0, 'shared');
  lab.swap(0, entryAt(0, 0), LOCKED);
  lab.flush(0, 0, 0);
  lab.store(0, entryAt(0, 0), block(R));
  lab.unlock(0, 'shared');
  return lab;
}

describe('a table that others may walk is replaced by a block and freed', () => {
  test('after a grace period of whomever', () => {
    const lab = replaced();
    lab.gracePeriod(2);
    lab.free(0, 1);
    expect(lab.verdicts).toEqual([]);
  });

  test('without one, though nobody is in it', () => {
    const lab = replaced();
    lab.free(0, 1);
    expect(lab.verdicts).toEqual(['table-freed']);
  });

  test('in an execution before the one that frees it', () => {
    const lab = replaced();
    lab.reset();
    expect(remove(lab)).toEqual([]);
  });

  test('after one that ended before', () => {
    const lab = new CheckerLab();
    lab.gracePeriod(2);
    lab.lock(0, 'shared');
    lab.swap(0, entryAt(0, 0), LOCKED);
    lab.flush(0, 0, 0);
    lab.store(0, entryAt(0, 0), block(R));
    lab.unlock(0, 'shared');
    lab.free(0, 1);
    expect(lab.verdicts).toEqual(['table-freed']);
  });
});

describe('a page that is free is', () => {
  test.each<[string, (lab: CheckerLab) => void, readonly string[]]>([
    ['loaded from', (lab) => lab.load(1, entryAt(1, 3)), ['table-use']],
    [
      'waited for, by whoever will try again',
      (lab) => lab.event(EventKind.retryWhen, 1, { at: entryAt(1, 3) }),
      [],
    ],
    [
      'the number that a moment has',
      (lab) => lab.event(EventKind.dcacheClean, 1, { at: entryAt(1, 3) }),
      [],
    ],
    ['stored to', (lab) => lab.store(1, entryAt(1, 3), block(R)), ['table-use']],
    [
      'handed out again, and used',
      (lab) => {
        lab.alloc(1, 1);
        lab.load(1, entryAt(1, 3));
      },
      [],
    ],
    ['another than the one that is used', (lab) => lab.load(1, entryAt(2, 3)), []],
  ])('%s', (_, act, verdicts) => {
    const lab = new CheckerLab();
    remove(lab);
    act(lab);
    expect(lab.verdicts).toEqual(verdicts);
  });
});

test.each<[string, number, readonly string[]]>([
  ['zeroed', 0, []],
  ['with what it held before', 0x5a, ['table-use']],
])('a page that was used before is linked %s', (_, filling, verdicts) => {
  const lab = new CheckerLab();
  remove(lab);
  lab.alloc(0, 1, filling);
  lab.lock(0);
  lab.store(0, entryAt(0, 3), table(1));
  lab.count(0, 2);
  lab.unlock(0);
  expect(lab.verdicts).toEqual(verdicts);
});
