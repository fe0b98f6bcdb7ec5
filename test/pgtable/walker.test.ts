import { describe, expect, test } from 'vitest';
import { drive, Order, type Op } from '../../src/engine/explore.ts';
import type { Level, Phys } from '../../src/machine/address.ts';
import { GEOMETRY_4K } from '../../src/machine/geometry.ts';
import { Descriptor, storeDescriptor } from '../../src/machine/descriptor.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import { NO_PGD, type Pgtable } from '../../src/pgtable/pgtable.ts';
import {
  Visit,
  walk,
  WalkFlag,
  walkUnlinked,
  type VisitContext,
  type Visitor,
} from '../../src/pgtable/walker.ts';
import { descriptorLoads } from '../support/tiny-machine.ts';
import { G1, M2, PAGE, TestTable, type TableOptions } from './helpers.ts';

const LEAF = 0x0040_0000_8000_07ffn;
const BLOCK = 0x0040_0000_8000_07fdn;
const NAMES = { [Visit.leaf]: 'leaf', [Visit.tablePre]: 'pre', [Visit.tablePost]: 'post' } as const;
const ALL = Visit.leaf | Visit.tablePre | Visit.tablePost;

/** Writes down each visit, and answers what it is told to. */
class Diary implements Visitor {
  readonly flags: number;
  readonly visits: string[] = [];
  readonly contexts: VisitContext[] = [];
  /** What happens at a visit, by its line. */
  readonly at = new Map<string, (context: VisitContext) => Op<Outcome>>();

  constructor(flags: number) {
    this.flags = flags;
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    const line = `${NAMES[reason]} ${context.level} ${context.addr.toString(16)}`;
    this.visits.push(line);
    this.contexts.push(context);
    const act = this.at.get(line);
    return act === undefined ? 'ok' : yield* act(context);
  }
}

/** Two pages' worth of a table, a block, and a page in the next table. */
function sample(options: TableOptions = {}): TestTable {
  const table = new TestTable(options);
  table.plant(0x403f_e000, 3, LEAF);
  table.plant(0x4040_0000, 2, BLOCK);
  table.plant(0x4060_0000, 3, LEAF);
  return table;
}

const START = 0x403f_e000;
const SIZE = 0x4060_1000 - START;
/** Everything there is to visit in the sample. */
const VISITS: readonly string[] = [
  'pre 1 403fe000',
  'pre 2 403fe000',
  'leaf 3 403fe000',
  'leaf 3 403ff000',
  'post 2 403fe000',
  'leaf 2 40400000',
  'pre 2 40600000',
  'leaf 3 40600000',
  'post 2 40600000',
  'post 1 403fe000',
];

function visit(table: TestTable, addr: number, size: number, diary = new Diary(ALL)): string[] {
  expect(drive(walk(table.pgt, addr, size, diary))).toBe('ok');
  return diary.visits;
}

/** Entries that a walk of the sample loads. */
const loads = (flags: number): number => {
  const table = sample();
  const seen = table.machine.alone(function* () {
    yield* walk(table.pgt, START, SIZE, new Diary(flags));
  });
  return descriptorLoads(table.machine, seen);
};

// oxlint-disable-next-line require-yield -- the interface allows sections that do yield.
function* refuse(): Op<boolean> {
  return false;
}

describe('the order of visits', () => {
  test.each([0, 1, 2, 3, 4, 5, 6, 7])('with flags %d has the visits asked for', (flags) => {
    const wanted = Object.entries(NAMES).flatMap(([bit, name]) =>
      (flags & Number(bit)) === 0 ? [] : [name],
    );
    const expected = VISITS.filter((line) => wanted.some((name) => line.startsWith(name)));
    expect(visit(sample(), START, SIZE, new Diary(flags))).toEqual(expected);
  });

  test('brackets the walk', () => {
    const table = sample();
    visit(table, START, SIZE);
    expect(table.ops.log).toEqual(['begin', 'end']);
  });

  test('shows each visitor the entry, its place and the range', () => {
    const table = sample();
    const diary = new Diary(ALL);
    visit(table, START + 5, SIZE, diary);
    const [pre1, pre2, leaf, , post2] = diary.contexts as [
      VisitContext,
      VisitContext,
      VisitContext,
      VisitContext,
      VisitContext,
    ];
    const child = pre1.old.address(GEOMETRY_4K);
    expect(pre1.entry).toBe(table.ops.wordOf(table.pgt.pgd) + 8);
    expect(pre2.entry).toBe(table.ops.wordOf(child) + 8);
    expect(leaf.entry).toBe(table.ops.wordOf(pre2.old.address(GEOMETRY_4K)) + 510 * 8);
    expect(leaf.old.toBigInt()).toBe(LEAF);
    expect([post2.entry, post2.old.toBigInt()]).toEqual([pre2.entry, pre2.old.toBigInt()]);
    for (const { range } of diary.contexts) {
      expect([range.start, range.end]).toEqual([START, START + SIZE]);
    }
  });

  test('loads each entry once, and again only after a leaf visit above level 3', () => {
    // Three tables, three pages, one block; the block is loaded again.
    expect([loads(0), loads(Visit.leaf), loads(Visit.tablePre), loads(ALL)]).toEqual([7, 8, 7, 8]);
  });

  test('meets stale entries as invalid ones: their table is not entered', () => {
    const table = new TestTable();
    table.plant(0x4020_3000, 3, LEAF);
    const { value } = table.lookup(0x4020_3000);
    expect(value).toBe(LEAF);
    const child = table.machine.entry(table.pgt.pgd, 1);
    table.machine.setEntry(table.pgt.pgd, 1, child & ~1n);
    expect(visit(table, 0x4020_3000, PAGE)).toEqual(['leaf 1 40203000']);
  });
});

/** Installs an empty table where it is called. */
const install = (table: TestTable) =>
  function* (context: VisitContext): Op<Outcome> {
    const child = yield* table.zone.zalloc();
    yield* storeDescriptor(context.entry, Descriptor.table(GEOMETRY_4K, child), Order.release);
    return 'ok';
  };

describe('a visitor that changes the table', () => {
  test('is led into the table it installed', () => {
    const table = new TestTable();
    const diary = new Diary(ALL);
    diary.at.set('leaf 1 40203000', install(table));
    diary.at.set('leaf 2 40203000', install(table));
    expect(visit(table, 0x4020_3000, 2 * PAGE, diary)).toEqual([
      'leaf 1 40203000',
      'leaf 2 40203000',
      'leaf 3 40203000',
      'leaf 3 40204000',
      'post 2 40203000',
      'post 1 40203000',
    ]);
    // Before the children the entry was invalid; after them it is the table.
    const [first, second] = diary.contexts;
    expect([first?.old.isValid(), second?.old.isValid()]).toEqual([false, false]);
    const posts = diary.contexts.slice(4);
    expect(posts.map(({ old, level }) => old.isTable(level))).toEqual([true, true]);
  });

  test('is led into the table it found, though it broke the entry before', () => {
    const table = sample();
    const diary = new Diary(ALL);
    diary.at.set('pre 2 403fe000', function* (context) {
      yield* storeDescriptor(context.entry, new Descriptor(0, 0), Order.once);
      return 'ok';
    });
    expect(visit(table, START, SIZE, diary)).toEqual(VISITS);
    // After the children it still has what the walker loaded.
    expect(diary.contexts[4]?.old.isTable(2)).toBe(true);
  });

  test('at level 3 makes no table', () => {
    const table = sample();
    const diary = new Diary(ALL);
    diary.at.set('leaf 3 403ff000', install(table));
    expect(visit(table, START, SIZE, diary)).toEqual(VISITS);
  });
});

describe('by the rules of 6.2', () => {
  const { parallel, handleFault, shared } = WalkFlag;

  test.each([0, 1, 2, 3, 4, 5, 6, 7])('a walk with flags %d has the same visits', (flags) => {
    const diary = visit(sample(), START, SIZE, new Diary(flags | parallel | handleFault));
    expect(diary).toEqual(visit(sample(), START, SIZE, new Diary(flags)));
  });

  test.each([
    'pre 1 403fe000',
    'pre 2 403fe000',
    'leaf 3 403fe000',
    'leaf 2 40400000',
    'post 2 403fe000',
    'post 1 403fe000',
  ])('again at "%s" is passed over, or ends a walk for a fault', (line) => {
    for (const [flags, visits, outcome] of [
      [parallel, VISITS, 'ok'],
      [parallel | shared, VISITS, 'ok'],
      [parallel | handleFault, VISITS.slice(0, VISITS.indexOf(line) + 1), 'again'],
    ] as const) {
      const table = sample();
      const diary = new Diary(ALL | flags);
      diary.at.set(line, function* () {
        return 'again';
      });
      expect(drive(walk(table.pgt, START, SIZE, diary))).toBe(outcome);
      expect(diary.visits).toEqual(visits);
    }
  });

  test('every other outcome ends the walk', () => {
    for (const what of ['noMemory', 'outOfRange', 'invalid', 'notPermitted'] as const) {
      const table = sample();
      const diary = new Diary(ALL | parallel);
      diary.at.set('pre 2 403fe000', function* () {
        return what;
      });
      expect(drive(walk(table.pgt, START, SIZE, diary))).toBe(what);
      expect(diary.visits).toEqual(VISITS.slice(0, 2));
    }
  });

  test('again at a leaf that became a table leads into the table', () => {
    const table = new TestTable();
    const diary = new Diary(ALL | parallel);
    diary.at.set('leaf 1 40203000', function* (context) {
      yield* install(table)(context);
      return 'again';
    });
    expect(visit(table, 0x4020_3000, PAGE, diary)).toEqual([
      'leaf 1 40203000',
      'leaf 2 40203000',
      'post 1 40203000',
    ]);
  });

  test('a table that was replaced before its children is not entered', () => {
    const table = sample();
    const diary = new Diary(ALL | parallel);
    diary.at.set('pre 2 403fe000', function* (context) {
      yield* storeDescriptor(context.entry, new Descriptor(0, 0), Order.once);
      return 'ok';
    });
    expect(visit(table, START, SIZE, diary)).toEqual([
      ...VISITS.slice(0, 2),
      ...VISITS.slice(VISITS.indexOf('leaf 2 40400000')),
    ]);
  });

  test('loads a table again only after a visit of it', () => {
    // Three tables, three pages, one block; tables and block again as they are visited.
    const counts = [0, Visit.leaf, Visit.tablePre, ALL].map((flags) => loads(flags | parallel));
    expect(counts).toEqual([7, 8, 10, 11]);
  });

  test('a shared walk says so to its owner, once', () => {
    const table = sample();
    visit(table, START, SIZE, new Diary(ALL | parallel | shared));
    expect(table.ops.log).toEqual(['shared', 'begin', 'end', 'no longer shared']);
  });

  test('a shared walk is not made where its owner refuses', () => {
    const table = sample();
    table.ops.rcuReadLock = refuse;
    const diary = new Diary(ALL | parallel | shared);
    expect(drive(walk(table.pgt, START, SIZE, diary))).toBe('notPermitted');
    expect([diary.visits, table.ops.log]).toEqual([[], []]);
    expect(visit(table, START, SIZE)).toEqual(VISITS);
  });
});

const pagesFrom = (at: number): string[] =>
  Array.from({ length: 512 }, (_, i) => `leaf 3 ${(at + i * PAGE).toString(16)}`);

const around = (at: number): string[] => [
  `pre 2 ${at.toString(16)}`,
  ...pagesFrom(at),
  `post 2 ${at.toString(16)}`,
];

test('a detached table is walked whole, from address 0, without a word to its owner', () => {
  const table = sample();
  const diary = new Diary(ALL);
  const child = table.ops.wordOf(Number(table.machine.entry(table.pgt.pgd, 1) & ~3n) as Phys);
  expect(drive(walkUnlinked(table.pgt, child, 1, diary))).toBe('ok');
  expect(diary.visits).toEqual([
    'leaf 2 0',
    ...around(M2),
    `leaf 2 ${(2 * M2).toString(16)}`,
    ...around(3 * M2),
    ...Array.from({ length: 508 }, (_, i) => `leaf 2 ${((4 + i) * M2).toString(16)}`),
  ]);
  expect(diary.contexts[0]?.range).toMatchObject({ start: 0, end: G1 });
  expect(table.ops.log).toEqual([]);
});

describe('an outcome that is not ok', () => {
  test.each([
    ['pre 1 403fe000', 1],
    ['pre 2 403fe000', 2],
    ['leaf 3 403fe000', 3],
    ['leaf 3 403ff000', 4],
    ['post 2 403fe000', 5],
    ['leaf 2 40400000', 6],
    ['post 2 40600000', 9],
    ['post 1 403fe000', 10],
  ])('at "%s" is the last visit: no table above it is finished', (line, visits) => {
    const table = sample();
    const diary = new Diary(ALL);
    diary.at.set(line, function* () {
      return 'noMemory';
    });
    expect(drive(walk(table.pgt, START, SIZE, diary))).toBe('noMemory');
    expect(diary.visits).toEqual(VISITS.slice(0, visits));
    expect(table.ops.log).toEqual(['begin', 'end']);
  });

  test.each(['again', 'noMemory', 'outOfRange', 'invalid'] as const)('%s is given back', (what) => {
    const table = sample();
    const diary = new Diary(Visit.leaf);
    diary.at.set('leaf 3 403ff000', function* () {
      return what;
    });
    expect(drive(walk(table.pgt, START, SIZE, diary))).toBe(what);
  });

  test('keeps the walk from a table the visitor had just installed', () => {
    const table = new TestTable();
    const diary = new Diary(ALL);
    diary.at.set('leaf 1 40203000', function* (context) {
      const child = yield* table.zone.zalloc();
      yield* storeDescriptor(context.entry, Descriptor.table(GEOMETRY_4K, child), Order.release);
      return 'again';
    });
    expect(drive(walk(table.pgt, 0x4020_3000, PAGE, diary))).toBe('again');
    expect(diary.visits).toEqual(['leaf 1 40203000']);
  });
});

/** Pages of a table visited at level 3, relative to its first. */
function pagesOf(addr: number, size: number): number[] {
  const table = new TestTable();
  table.plant(0x4020_0000, 3, LEAF);
  const diary = new Diary(Visit.leaf);
  visit(table, 0x4020_0000 + addr, size, diary);
  return diary.contexts.map((context) => (context.addr - 0x4020_0000) / PAGE);
}

describe('the range', () => {
  test.each([
    ['one byte is its page', 0x1fff, 1, [1]],
    ['a page is a page', 0x1000, 0x1000, [1]],
    ['a byte more is the next page too', 0x1000, 0x1001, [1, 2]],
    ['the end counts from the rounded start', 0x1800, 0x1000, [1]],
    ['and is rounded up', 0x1800, 0x1001, [1, 2]],
    ['nothing is nothing', 0x1000, 0, []],
    ['nothing inside a page is nothing', 0x1800, 0, []],
  ])('%s', (_what, addr, size, visited) => {
    expect(pagesOf(addr, size)).toEqual(visited);
  });

  test.each([32, 40, 48])('of %d bits may end at the limit, and no page beyond', (ipaBits) => {
    const { pgt } = new TestTable({ ipaBits });
    const limit = 2 ** ipaBits;
    const outcome = (addr: number, size: number, table: Pgtable = pgt): Outcome =>
      drive(walk(table, addr, size, new Diary(0)));
    expect(outcome(0, limit)).toBe('ok');
    expect(outcome(limit - PAGE, PAGE)).toBe('ok');
    expect(outcome(limit, 0)).toBe('ok');
    expect(outcome(limit + PAGE - 1, 0)).toBe('ok');
    expect(outcome(limit, 1)).toBe('outOfRange');
    expect(outcome(limit + PAGE, 0)).toBe('outOfRange');
    expect(outcome(limit - PAGE, PAGE + 1)).toBe('outOfRange');
    expect(outcome(0, limit + 1)).toBe('outOfRange');
    const none = { ...pgt, pgd: NO_PGD };
    expect(outcome(0, PAGE, none)).toBe('invalid');
    expect(outcome(0, 0, none)).toBe('invalid');
    // Which of the two is found first.
    expect(outcome(limit, 1, none)).toBe('outOfRange');
  });

  test('refused is no walk', () => {
    const table = new TestTable();
    drive(walk(table.pgt, 2 ** 40, 1, new Diary(ALL)));
    drive(walk({ ...table.pgt, pgd: NO_PGD }, 0, 1, new Diary(ALL)));
    expect(table.ops.log).toEqual([]);
  });

  test('that starts inside a block goes on at the next entry', () => {
    const table = sample();
    expect(visit(table, 0x4050_0000, 0x4060_1000 - 0x4050_0000)).toEqual([
      'pre 1 40500000',
      'leaf 2 40500000',
      'pre 2 40600000',
      'leaf 3 40600000',
      'post 2 40600000',
      'post 1 40500000',
    ]);
  });

  test('that starts inside an invalid entry goes on at the next', () => {
    const table = new TestTable();
    expect(visit(table, G1 + M2, 2 * G1)).toEqual([
      `leaf 1 ${(G1 + M2).toString(16)}`,
      `leaf 1 ${(2 * G1).toString(16)}`,
      `leaf 1 ${(3 * G1).toString(16)}`,
    ]);
  });
});

describe('a root of several pages', () => {
  test.each([
    [40, 1, 2, 2 ** 39, G1],
    [32, 2, 4, G1, M2],
    [34, 2, 16, 5 * G1, M2],
  ] as const)('of %d bits, level %d, %d pages is walked across them', (...row) => {
    const [ipaBits, level, pages, seam, size] = row;
    const table = new TestTable({ ipaBits, tableFrames: 48 });
    expect(table.pgt).toMatchObject({ startLevel: level, pgdPages: pages });
    const diary = new Diary(ALL);
    expect(visit(table, seam - size, 2 * size, diary)).toEqual([
      `leaf ${level} ${(seam - size).toString(16)}`,
      `leaf ${level} ${seam.toString(16)}`,
    ]);
    const page = seam / (size * 512);
    const root = table.ops.wordOf(table.pgt.pgd);
    expect(diary.contexts.map((context) => context.entry - root)).toEqual([
      page * PAGE - 8,
      page * PAGE,
    ]);
  });

  test('is walked to its last entry', () => {
    const table = new TestTable({ ipaBits: 34, tableFrames: 48 });
    const diary = new Diary(Visit.leaf);
    visit(table, 0, 2 ** 34, diary);
    expect(diary.visits).toHaveLength(16 * 512);
    expect(diary.contexts.map((context) => context.addr)).toEqual(
      Array.from({ length: 16 * 512 }, (_, i) => i * M2),
    );
  });

  test('a table of four levels is descended from level 0', () => {
    const table = new TestTable({ ipaBits: 48 });
    const far = 0xff80_4020_3000;
    table.plant(far, 3, LEAF);
    const levels: Level[] = [0, 1, 2];
    expect(visit(table, far, PAGE)).toEqual([
      ...levels.map((level) => `pre ${level} ff8040203000`),
      'leaf 3 ff8040203000',
      ...levels.toReversed().map((level) => `post ${level} ff8040203000`),
    ]);
  });

  test('an address above 4 GiB with bit 31 set is walked to and read whole', () => {
    const table = new TestTable();
    table.plant(0xc0_8020_3000, 3, 0xf_8000_0000n | 0x7ffn);
    const diary = new Diary(Visit.leaf);
    visit(table, 0xc0_8020_3000, PAGE, diary);
    expect(diary.contexts.map((context) => context.old.address(GEOMETRY_4K))).toEqual([
      0xf_8000_0000,
    ]);
  });
});
