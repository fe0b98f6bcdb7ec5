/** Mapping in the form of 5.12 to 6.1: what it stores and in which order, the skip filter, and the same tables as the form of 6.12. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import type { Phys } from '../../../src/machine/address.ts';
import { stage2Map } from '../../../src/pgtable/exclusive/map.ts';
import type { Outcome } from '../../../src/pgtable/outcome.ts';
import { stage2UnmapEach } from '../../../src/pgtable/parallel/unmap.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RO, RW } from '../helpers.ts';
import { ParallelTable, type MapArguments } from '../parallel/helpers.ts';

const IPA = 0x4020_0000;
const PHYS = 0x8000_0000;
const page = { ipa: IPA, size: PAGE, phys: PHYS };
const block = { ipa: IPA, size: M2, phys: PHYS };

/** A table that is changed by the operations of 5.18. */
class ExclusiveTable extends ParallelTable {
  override map({ ipa, size, phys, prot = RW }: MapArguments): Outcome {
    const { pgt, cache } = this;
    return drive(stage2Map(pgt, { ipa, size, phys: phys as Phys, prot, cache }));
  }

  override unmap(ipa: number, size: number): Outcome {
    return drive(stage2UnmapEach(this.pgt, ipa, size));
  }

  traceOfMap(request: MapArguments): string[] {
    const { ipa, size, phys, prot = RW } = request;
    const { pgt, cache } = this;
    return this.trace(() => stage2Map(pgt, { ipa, size, phys: phys as Phys, prot, cache }));
  }
}

test('a fresh page: cleaned, stored with release, then counted; two tables before it', () => {
  const table = new ExclusiveTable();
  const trace = table.traceOfMap(page);
  expect(trace.slice(-4)).toEqual(['barrier 0', 'release 400000800007ff', 'count 2', 'barrier 1']);
  expect(trace.filter((line) => line.startsWith('release'))).toHaveLength(3);
  expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-']);
  expect(table.logged()).toEqual(['clean 80000000 1000', 'publish']);
});

describe('the skip filter', () => {
  test.each([
    ['the same', RW, RW],
    ['fewer permissions', RW, RO],
    ['more permissions', RO, RW],
    ['execution', RW, RW | Prot.x],
  ])('%s: again, and nothing is changed, cleaned or invalidated', (_, first, second) => {
    const table = new ExclusiveTable();
    table.map({ ...page, prot: first });
    const before = table.words();
    table.logged();
    expect(table.map({ ...page, prot: second })).toBe('again');
    expect(table.words()).toEqual(before);
    expect(table.logged()).toEqual(['publish']);
  });

  test('another page or another type of memory is no skip: broken, invalidated, made', () => {
    for (const request of [
      { ...page, phys: PHYS + PAGE },
      { ...page, prot: RW | Prot.device },
    ]) {
      const table = new ExclusiveTable();
      table.map(page);
      table.logged();
      const trace = table.traceOfMap(request);
      const [cleared, , ...rest] = trace.filter((line) => line !== 'barrier 0');
      expect([cleared, rest.length]).toEqual(['store 0', 4]);
      expect(table.ops.log).toContain('tlbi 40200000 hint 3');
      expect(table.entries()).toHaveLength(1);
    }
  });

  test('it ends the walk: what comes behind is not mapped', () => {
    const table = new ExclusiveTable();
    table.map(page);
    expect(table.map({ ipa: IPA, size: 2 * PAGE, phys: PHYS })).toBe('again');
    expect(table.entries()).toHaveLength(1);
  });
});

test('a page in a block: the block is emptied, invalidated by its level, replaced by a table', () => {
  const table = new ExclusiveTable();
  table.map(block);
  table.logged();
  expect(table.map({ ...page, ipa: IPA + 3 * PAGE, phys: PHYS + 3 * PAGE })).toBe('ok');
  expect(table.words()).toEqual(['3 40203000 -> 80003000 rw-']);
  expect(table.logged()).toEqual(['tlbi 40203000 hint 2', 'clean 80003000 1000', 'publish']);
});

test('a block over a table: flushed as a VMID while the entry is empty, the table freed, then the block', () => {
  const table = new ExclusiveTable();
  table.map(page);
  table.map({ ...page, ipa: IPA + 5 * PAGE, phys: PHYS + 5 * PAGE });
  table.logged();
  table.ops.onFlush = () => ` at ${table.lookup(IPA).value}`;
  const used = table.pagesInUse();
  expect(table.map(block)).toBe('ok');
  expect(table.words()).toEqual(['2 40200000 -> 80000000 rw-']);
  expect(table.logged()).toEqual(['tlbi vmid at 0', 'clean 80000000 200000', 'publish']);
  expect(table.pagesInUse()).toBe(used - 1);
});

test('a block over two levels of tables', () => {
  const table = new ExclusiveTable();
  for (const offset of [0, 3 * PAGE, M2, 7 * M2]) {
    table.map({ ipa: G1 + offset, size: PAGE, phys: PHYS + offset });
  }
  table.map({ ipa: G1 + 8 * M2, size: M2, phys: PHYS + 8 * M2 });
  expect(table.map({ ipa: G1, size: G1, phys: PHYS })).toBe('ok');
  expect(table.words()).toEqual(['1 40000000 -> 80000000 rw-']);
});

test.each([0, 1])('without table pages, %d there: noMemory', (cachePages) => {
  const table = new ExclusiveTable({ cachePages });
  expect(table.map(page)).toBe('noMemory');
  expect(table.entries()).toEqual([]);
});

test('what the format cannot say', () => {
  const table = new ExclusiveTable();
  expect(table.map({ ...page, prot: Prot.r | Prot.x | Prot.device })).toBe('invalid');
});

interface Command {
  readonly isUnmap: boolean;
  readonly at: number;
  readonly pages: number;
  readonly moved: boolean;
  readonly prot: number;
}

const command: fc.Arbitrary<Command> = fc.record({
  isUnmap: fc.boolean(),
  at: fc.constantFrom(0, 1, 3, 511, 512, 1024, 1536),
  pages: fc.constantFrom(1, 2, 512, 513, 1024, 4096),
  moved: fc.boolean(),
  prot: fc.constantFrom(RW, RO, RW | Prot.x),
});

test('the same tables and outcomes as the form of 6.12, alone', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 12 }), (commands) => {
      const tables = [ExclusiveTable, ParallelTable].map((Table) => {
        const table = new Table();
        const told = commands.map(({ isUnmap, at, pages, moved, prot }) => {
          const ipa = G1 + at * PAGE;
          const size = pages * PAGE;
          if (isUnmap) return table.unmap(ipa, size);
          return table.map({ ipa, size, phys: PHYS + at * PAGE + (moved ? G1 : 0), prot });
        });
        return [told, table.words()];
      });
      expect(tables[0]).toEqual(tables[1]);
    }),
    { seed: 51, numRuns: 60 },
  );
});
