import { describe, expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import type { Phys } from '../../../src/machine/address.ts';
import { Attributes } from '../../../src/machine/descriptor.ts';
import type { Outcome } from '../../../src/pgtable/outcome.ts';
import { stage2SetOwner } from '../../../src/pgtable/parallel/map.ts';
import { stage2Split } from '../../../src/pgtable/parallel/split.ts';
import {
  stage2CreateUnlinked,
  stage2Destroy,
  stage2FreeUnlinked,
  type UnlinkedRequest,
} from '../../../src/pgtable/parallel/unlinked.ts';
import { NO_PGD } from '../../../src/pgtable/pgtable.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { Scripted } from '../../../src/explore/scripted.ts';
import { EventKind } from '../../../src/engine/events.ts';
import { G1, LimitedCache, M2, PAGE, RO, RW } from '../helpers.ts';
import { FAULT, LOCKED, ParallelTable, type Entry } from './helpers.ts';

const IPA = 0x4020_0000;
const PHYS = 0x8000_0000;
const AF = 0x400n;
const block = { ipa: IPA, size: M2, phys: PHYS };

function split(table: ParallelTable, pages = Infinity, flags = 0): Outcome {
  const cache = new LimitedCache(table.zone, pages);
  return drive(stage2Split(table.pgt, { ipa: G1, size: G1, cache, flags }));
}

/** Leaves of each level. */
function levelsOf(table: ParallelTable): number[] {
  const counts = [0, 0, 0, 0];
  for (const { level } of table.entries()) counts[level] = (counts[level] ?? 0) + 1;
  return counts;
}

/** The pages that say what `leaf` does. */
function pagesOf(leaf: Entry, bytes: number): Entry[] {
  return Array.from({ length: bytes / PAGE }, (_, i) => ({
    addr: leaf.addr + i * PAGE,
    level: 3,
    value: leaf.value + BigInt(i * PAGE) + 2n,
  }));
}

/** Of so many entries that comparing objects would take seconds. */
function textOf(entries: readonly Entry[]): string {
  return entries.map(({ addr, level, value }) => `${addr} ${level} ${value}`).join();
}

describe('a split', () => {
  test.each([
    ['read-only code', RO | Prot.x],
    ['a device', RW | Prot.device],
    ['software bits', RW | Prot.sw2],
  ])('of a block of %s gives pages of the same', (_what, prot) => {
    const table = new ParallelTable();
    table.map({ ...block, prot });
    const [leaf] = table.entries() as [Entry];
    table.logged();
    expect(split(table, 1)).toBe('ok');
    expect(table.entries()).toEqual(pagesOf(leaf, M2));
    // No cleaning: the memory was mapped all along.
    expect(table.logged()).toEqual(['tlbi 40200000 hint 2', 'publish']);
  });

  test('gives young pages', () => {
    const table = new ParallelTable();
    table.map(block);
    const [leaf] = table.entries() as [Entry];
    table.plant(IPA, leaf.value & ~AF);
    split(table);
    expect(table.entries()).toEqual(pagesOf(leaf, M2));
  });

  test('happens while the subtree is ready: broken and made in one go', () => {
    const table = new ParallelTable();
    table.map(block);
    const view = table.view();
    const cache = new LimitedCache(table.zone, 1);
    const request = { ipa: IPA, size: M2, cache, flags: 0 };
    const trace = table.trace(() => stage2Split(view.pgt, request));
    const last = trace.slice(-6);
    expect(last).toEqual([
      'store 400',
      'barrier 2',
      'count 1',
      'count 2',
      'release 1000003003',
      'barrier 1',
    ]);
    expect(trace.slice(0, -6).filter((line) => line.startsWith('release'))).toHaveLength(512);
    expect(trace.slice(0, -6).filter((line) => line.startsWith('barrier'))).toEqual([]);
  });

  test('of a 1G block with all its pages at hand is one break', () => {
    const table = new ParallelTable({ tableFrames: 520 });
    table.map({ ipa: G1, size: G1, phys: 4 * G1 });
    const [leaf] = table.entries() as [Entry];
    table.logged();
    expect(split(table, 513)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi 40000000 hint 1', 'publish']);
    expect(textOf(table.entries()) === textOf(pagesOf(leaf, G1))).toBe(true);
  });

  test('with fewer goes level by level, as far as they last', () => {
    const table = new ParallelTable({ tableFrames: 520 });
    table.map({ ipa: G1, size: G1, phys: 4 * G1 });
    table.logged();
    expect(split(table, 3)).toBe('noMemory');
    expect(table.logged().filter((line) => line.startsWith('tlbi'))).toEqual([
      'tlbi 40000000 hint 1',
      'tlbi 40000000 hint 2',
      'tlbi 40200000 hint 2',
    ]);
    expect(levelsOf(table)).toEqual([0, 0, 510, 1024]);
    expect(split(table, 0)).toBe('noMemory');
    expect(split(table, 5)).toBe('noMemory');
    expect(levelsOf(table)).toEqual([0, 0, 505, 7 * 512]);
  });

  test('with one page too few goes level by level too', () => {
    const table = new ParallelTable({ tableFrames: 520 });
    table.map({ ipa: G1, size: G1, phys: 4 * G1 });
    expect(split(table, 512)).toBe('noMemory');
    expect(levelsOf(table)).toEqual([0, 0, 1, 511 * 512]);
  });

  test('passes over pages, holes and owners', () => {
    const table = new ParallelTable();
    table.map({ ...block, size: PAGE });
    drive(stage2SetOwner(table.pgt, { ipa: IPA + PAGE, size: PAGE, owner: 1, cache: table.cache }));
    const before = table.entries();
    table.logged();
    expect(split(table, 0)).toBe('ok');
    expect(table.entries()).toEqual(before);
    expect(table.logged()).toEqual(['publish']);
  });

  test('that loses a race frees its subtree', () => {
    const table = new ParallelTable();
    table.map(block);
    const { at } = table.lookup(IPA);
    const view = table.view();
    const outcomes: Outcome[] = [];
    const script = new Scripted([
      { agent: 0, until: (pending) => pending.kind === EventKind.cas64 && pending.at === at },
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ]);
    const mapper = table.view();
    const { result } = table.machine.run(
      [
        function* () {
          const { pgt, cache } = view;
          const request = { ipa: IPA, size: M2, cache, flags: FAULT };
          outcomes.push(yield* stage2Split(pgt, request));
        },
        function* () {
          outcomes.push(yield* mapper.map({ ...block, phys: 4 * M2 }));
        },
      ],
      script,
    );
    expect(result.outcome).toBe('completed');
    expect(outcomes).toEqual(['ok', 'again']);
    expect(table.words()).toEqual(['2 40200000 -> 800000 rw-']);
    expect(view.cache.taken).toBe(1);
  });
});

describe('an unlinked subtree', () => {
  const attributes = new Attributes(0x7fc, 0);
  const base = { phys: PHYS as Phys, level: 2, attributes, isPagesOnly: false } as const;
  const create = (
    table: ParallelTable,
    pages: number,
    request: Partial<UnlinkedRequest> = {},
  ): Phys | Outcome =>
    drive(
      stage2CreateUnlinked(table.pgt, {
        ...base,
        cache: new LimitedCache(table.zone, pages),
        ...request,
      }),
    );

  test('maps a block by the next level, touches no TLB and no cache, and is freed', () => {
    const table = new ParallelTable();
    const root = create(table, 1, { level: 1 }) as Phys;
    expect(table.ops.log).toEqual([]);
    const entries = Array.from({ length: 512 }, (_, i) => table.machine.entry(root, i));
    expect(entries).toEqual(entries.map((_, i) => BigInt(PHYS + i * M2) | 0x7fdn));
    expect(drive(table.zone.count(root))).toBe(513);
    expect(table.pagesInUse()).toBe(3);
    drive(stage2FreeUnlinked(table.pgt, table.zone.wordOf(root), 1));
    expect(table.pagesInUse()).toBe(2);
    expect(table.ops.log).toEqual([]);
  });

  test('of pages only takes the tables for them', () => {
    const table = new ParallelTable({ tableFrames: 520 });
    const root = create(table, 513, { level: 1, isPagesOnly: true }) as Phys;
    expect(table.pagesInUse()).toBe(2 + 513);
    const first = Number(table.machine.entry(root, 511) & ~3n);
    expect(table.machine.entry(first, 511)).toBe(BigInt(PHYS + G1 - PAGE) | 0x7ffn);
    drive(stage2FreeUnlinked(table.pgt, table.zone.wordOf(root), 1));
    expect(table.pagesInUse()).toBe(2);
  });

  test('of memory that is not aligned to its level is refused', () => {
    const table = new ParallelTable();
    expect(create(table, 1, { phys: (PHYS + PAGE) as Phys })).toBe('invalid');
    expect(create(table, 1, { phys: (G1 + M2) as Phys, level: 1 })).toBe('invalid');
    expect(table.pagesInUse()).toBe(2);
  });

  test('that cannot be finished is freed', () => {
    const table = new ParallelTable();
    expect(create(table, 0)).toBe('noMemory');
    expect(create(table, 7, { level: 1, isPagesOnly: true })).toBe('noMemory');
    expect(table.pagesInUse()).toBe(2);
    expect(table.zone.accounts().used).toBe(2 + 7);
  });

  test('with a reference too many, or a locked entry, is a bug', () => {
    const table = new ParallelTable();
    const root = create(table, 1) as Phys;
    drive(table.zone.get(root));
    const word = table.zone.wordOf(root);
    expect(() => drive(stage2FreeUnlinked(table.pgt, word, 2))).toThrow('left with 2 references');
    table.machine.setEntry(root, 0, LOCKED);
    expect(() => drive(stage2FreeUnlinked(table.pgt, word, 2))).toThrow('a locked entry is left');
  });
});

describe('destroy', () => {
  test('frees leaves, tables and owners, without a TLBI', () => {
    const table = new ParallelTable();
    const { pgt, cache } = table;
    table.map(block);
    table.map({ ...block, ipa: 0, size: PAGE });
    drive(stage2SetOwner(pgt, { ipa: 3 * G1, size: 3 * PAGE, owner: 1, cache }));
    table.logged();
    drive(stage2Destroy(pgt));
    expect(table.pagesInUse()).toBe(0);
    expect(table.logged()).toEqual([]);
  });

  test('of no table does nothing; of a locked entry it is a bug', () => {
    const table = new ParallelTable();
    drive(stage2Destroy({ ...table.pgt, pgd: NO_PGD }));
    expect(table.ops.log).toEqual([]);
    table.plant(IPA, LOCKED);
    expect(() => drive(stage2Destroy(table.pgt))).toThrow('a locked entry is left behind');
  });
});
