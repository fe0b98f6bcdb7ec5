import { expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import { Descriptor, EMPTY } from '../../../src/machine/descriptor.ts';
import {
  isCounted,
  isLocked,
  LOCKED,
  ownerAnnotation,
} from '../../../src/pgtable/invalid-entry.ts';
import {
  EXCLUSIVE,
  makeEntry,
  tryBreakEntry,
  updateFor,
} from '../../../src/pgtable/parallel/entry-update.ts';
import { VisitContext, WalkFlag } from '../../../src/pgtable/walker.ts';
import { PAGE } from '../helpers.ts';
import { ParallelTable } from './helpers.ts';

const IPA = 0x4020_0000;
const SHARED = updateFor(WalkFlag.shared);

/** A table with one page, and a visit of it that saw `old`. */
function visited(old?: Descriptor): {
  readonly table: ParallelTable;
  readonly context: VisitContext;
} {
  const table = new ParallelTable();
  table.map({ ipa: IPA, size: PAGE, phys: 0x8000_0000 });
  table.logged();
  const { at, value } = table.lookup(IPA);
  const seen = old ?? new Descriptor(Number(BigInt.asIntN(32, value)), Number(value >> 32n));
  const range = { start: IPA, end: IPA + PAGE };
  return { table, context: new VisitContext(at, seen, IPA, 3, range) };
}

test('entries that software alone reads have their published values', () => {
  expect(LOCKED.toBigInt()).toBe(0x400n);
  expect([ownerAnnotation(1).toBigInt(), ownerAnnotation(0)]).toEqual([4n, EMPTY]);
  expect([isLocked(LOCKED), isLocked(ownerAnnotation(1)), isLocked(EMPTY)]).toEqual([
    true,
    false,
    false,
  ]);
  expect([
    isCounted(EMPTY),
    isCounted(ownerAnnotation(1)),
    isCounted(new Descriptor(0, 1)),
  ]).toEqual([false, true, true]);
});

test.each([
  ['exclusive', EXCLUSIVE],
  ['shared', SHARED],
])(
  '%s: a break locks the entry, flushes it and drops its reference; a make takes one',
  (_, update) => {
    const { table, context } = visited();
    const count = (): number => drive(table.zone.countAt(context.entry));
    expect(drive(tryBreakEntry(table.pgt, context, update))).toBe(true);
    expect([table.lookup(IPA).value, count()]).toEqual([0x400n, 1]);
    expect(table.logged()).toEqual(['tlbi 40200000 hint 3']);
    drive(makeEntry(table.pgt, context, ownerAnnotation(1)));
    expect([table.lookup(IPA).value, count()]).toEqual([4n, 2]);
    expect(() => drive(makeEntry(table.pgt, context, EMPTY))).toThrow('that was not broken');
  },
);

test('the break of an empty entry has nothing to flush and no reference to drop', () => {
  const { table, context } = visited(EMPTY);
  table.plant(IPA, 0n);
  expect(drive(tryBreakEntry(table.pgt, context, SHARED))).toBe(true);
  expect(drive(table.zone.countAt(context.entry))).toBe(2);
  drive(makeEntry(table.pgt, context, EMPTY));
  expect(drive(table.zone.countAt(context.entry))).toBe(2);
  expect(table.logged()).toEqual([]);
});

test.each([
  ['has changed since', EMPTY],
  ['is locked', LOCKED],
])('a shared break of an entry that %s changes nothing', (_what, seen) => {
  const { table, context } = visited(seen);
  if (isLocked(seen)) table.plant(IPA, 0x400n);
  const { value } = table.lookup(IPA);
  expect(drive(tryBreakEntry(table.pgt, context, SHARED))).toBe(false);
  expect(table.lookup(IPA).value).toBe(value);
  expect(drive(table.zone.countAt(context.entry))).toBe(2);
  expect(table.logged()).toEqual([]);
});

test('an exclusive break of a locked entry is a bug', () => {
  const { table, context } = visited(LOCKED);
  const broken = (): unknown => drive(tryBreakEntry(table.pgt, context, EXCLUSIVE));
  expect(broken).toThrow('an exclusive walk met a locked entry');
});
