/** Patch 1: a stand-alone walker, which descends a table of any granule and start level and knows nothing of the host's tables. */
import { describe, expect, test } from 'vitest';
import { drive, Order, type Op } from '../../src/engine/explore.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import type { Level } from '../../src/machine/address.ts';
import { Descriptor, storeDescriptor } from '../../src/machine/descriptor.ts';
import type { FrameZone } from '../../src/machine/frames.ts';
import { GEOMETRY_4K } from '../../src/machine/geometry.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import { NO_PGD, type Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2Init } from '../../src/pgtable/stage2-init.ts';
import { Visit, walk, type VisitContext, type Visitor } from '../../src/pgtable/walker.ts';
import { RecordingOps } from '../pgtable/helpers.ts';
import { TinyMachine, configOf, geometryOf } from '../support/tiny-machine.ts';

const NAMES = { [Visit.leaf]: 'leaf', [Visit.tablePre]: 'pre', [Visit.tablePost]: 'post' } as const;
const FLAG_SETS = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const ALL = 7;

/** Every granule at every start level it has: log2 of the page, bits of IPA, start level. */
const SHAPES = [
  ['4K', 12, 32, 2],
  ['4K', 12, 40, 1],
  ['4K', 12, 48, 0],
  ['16K', 14, 36, 2],
  ['16K', 14, 48, 1],
  ['16K', 14, 52, 0],
  ['64K', 16, 36, 2],
  ['64K', 16, 48, 1],
] as const;

/** Writes down its visits. With a zone it installs a table wherever it is shown an empty entry that can have one. */
class Diary implements Visitor {
  readonly flags: number;
  readonly visits: string[] = [];
  readonly #tables: FrameZone | null;

  constructor(flags: number, tables: FrameZone | null = null) {
    this.flags = flags;
    this.#tables = tables;
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    const { entry, level, addr } = context;
    this.visits.push(at(NAMES[reason], level, addr));
    if (this.#tables === null || reason !== Visit.leaf || level === 3) return 'ok';
    const child = yield* this.#tables.zalloc();
    yield* storeDescriptor(entry, Descriptor.table(GEOMETRY_4K, child), Order.release);
    return 'ok';
  }
}

function tableOn(machine: TinyMachine, pageShift: number, ipaBits: number): Pgtable {
  const ops = new RecordingOps(machine.main.memory.tables);
  return drive(stage2Init(configOf(ipaBits, geometryOf(pageShift, ipaBits)), ops));
}

/** Two pages in two tables of level 3, to be walked from a byte inside the first. */
function twoPages(pageShift: number): { readonly first: number; readonly second: number } {
  const second = 2 ** (pageShift + pageShift - 3);
  return { first: second - 2 ** pageShift, second };
}

function at(kind: string, level: number, addr: number): string {
  return `${kind} ${level} ${addr.toString(16)}`;
}

/** What a walk of {@link twoPages} visits once their tables are there. */
function visitsOf(pageShift: number, startLevel: number): string[] {
  const { first, second } = twoPages(pageShift);
  const upper = [0, 1].filter((level) => level >= startLevel);
  return [
    ...upper.map((level) => at('pre', level, first)),
    ...[first, second].flatMap((addr) => [
      at('pre', 2, addr),
      at('leaf', 3, addr),
      at('post', 2, addr),
    ]),
    ...upper.toReversed().map((level) => at('post', level, first)),
  ];
}

describe.each(SHAPES)('%s, page shift %d, IPA of %d bits, start level %d', (...shape) => {
  const [, pageShift, ipaBits, startLevel] = shape;
  const page = 2 ** pageShift;
  const { first } = twoPages(pageShift);

  function built(): { readonly pgt: Pgtable; readonly builder: Diary } {
    const machine = new TinyMachine({ tableFrames: 24, tableBytes: page });
    const pgt = tableOn(machine, pageShift, ipaBits);
    const builder = new Diary(ALL, machine.main.memory.tables);
    expect(drive(walk(pgt, first, 2 * page, builder))).toBe('ok');
    return { pgt, builder };
  }

  test('the walk descends into each table that a LEAF callback installed', () => {
    const { pgt, builder } = built();
    expect(pgt.startLevel).toBe(startLevel);
    // As if the tables had been there, but that each was first shown as an empty entry.
    expect(builder.visits).toEqual(
      visitsOf(pageShift, startLevel).map((line) => line.replace(/^pre/, 'leaf')),
    );
  });

  test.each(FLAG_SETS)('the visits of flag set %d are those asked for, in their order', (flags) => {
    const { pgt } = built();
    const wanted = Object.entries(NAMES).flatMap(([flag, name]) =>
      (flags & Number(flag)) === 0 ? [] : [name],
    );
    const diary = new Diary(flags);
    expect(drive(walk(pgt, first + 5, 2 * page, diary))).toBe('ok');
    expect(diary.visits).toEqual(
      visitsOf(pageShift, startLevel).filter((line) =>
        wanted.some((name) => line.startsWith(name)),
      ),
    );
  });

  test('an empty entry is passed over as a whole, from wherever inside the walk began', () => {
    const machine = new TinyMachine({ tableFrames: 24, tableBytes: page });
    const pgt = tableOn(machine, pageShift, ipaBits);
    const size = pgt.geometry.sizeOf(startLevel);
    const diary = new Diary(ALL);
    expect(drive(walk(pgt, size - page, 2 * page, diary))).toBe('ok');
    expect(diary.visits).toEqual([size - page, size].map((addr) => at('leaf', startLevel, addr)));
  });

  test('a range beyond the input space is -ERANGE, a walk without a table -EINVAL', () => {
    const { pgt } = built();
    const limit = 2 ** ipaBits;
    const diary = new Diary(ALL);
    const outcome = (table: Pgtable, addr: number, size: number): Outcome =>
      drive(walk(table, addr, size, diary));
    expect(outcome(pgt, limit - page, page + 1)).toBe('outOfRange');
    expect(outcome({ ...pgt, pgd: NO_PGD }, first, page)).toBe('invalid');
    expect(diary.visits).toEqual([]);
    expect(outcome(pgt, limit - page, page)).toBe('ok');
  });
});

test('tables of three geometries are built and walked at the same time on one machine', () => {
  const geometries = [
    [12, 39, 1],
    [14, 36, 2],
    [16, 48, 1],
  ] as const;
  for (let seed = 0; seed < 20; seed++) {
    const machine = new TinyMachine({ tableFrames: 16, tableBytes: 2 ** 16 });
    const agents = geometries.map(([pageShift, ipaBits]) => ({
      pgt: tableOn(machine, pageShift, ipaBits),
      builder: new Diary(ALL, machine.agent().memory.tables),
      again: new Diary(ALL),
      ...twoPages(pageShift),
    }));
    const outcomes: Outcome[] = [];
    const walks = agents.map(
      ({ pgt, builder, again, first }) =>
        function* (): Op<void> {
          const size = 2 * pgt.geometry.pageBytes;
          outcomes.push(yield* walk(pgt, first, size, builder));
          outcomes.push(yield* walk(pgt, first, size, again));
        },
    );
    expect(machine.run(walks, new RandomScheduler(seed)).result.outcome).toBe('completed');
    expect(outcomes).toEqual(Array.from({ length: 6 }, () => 'ok'));
    expect(agents.map(({ again }) => again.visits)).toEqual(
      geometries.map(([pageShift, , startLevel]) => visitsOf(pageShift, startLevel)),
    );
    expect(agents.map(({ pgt }) => pgt.startLevel)).toEqual<Level[]>([1, 2, 1]);
  }
});
