/** The library over every granule: the same code, other geometry. */
import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import { stage2Unmap } from '../../src/pgtable/stage2-unmap.ts';
import { RW } from './helpers.ts';
import { ShapedTable, unfoldedAddress } from './shaped-table.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Page shift, bytes of a block at each level (0: KVM makes none), bits of IPA that the tests use. */
const GRANULES = [
  { name: '4K', shift: 12, blocks: [0, GIB, 2 * MIB], ipaBits: 40 },
  { name: '16K', shift: 14, blocks: [0, 0, 32 * MIB], ipaBits: 42 },
  { name: '64K', shift: 16, blocks: [0, 0, 512 * MIB], ipaBits: 48 },
] as const;

interface Found {
  readonly addr: number;
  readonly level: number;
  readonly oa: number;
}

class GranuleTable extends ShapedTable {
  constructor({ shift, ipaBits }: { readonly shift: 12 | 14 | 16; readonly ipaBits: number }) {
    super({ pageShift: shift, lpa2: false, ipaBits, fwb: false, xnx: false });
  }

  mapped(ipa: number, size: number, phys: number): Outcome {
    return this.map(ipa, size, phys, RW);
  }

  unmap(ipa: number, size: number): Outcome {
    return drive(stage2Unmap(this.pgt, ipa, size));
  }

  found(): Found[] {
    return this.leaves().map(({ addr, level, value }) => {
      return { addr, level, oa: unfoldedAddress(this.shape, value) };
    });
  }
}

describe.each(GRANULES)('$name', (granule) => {
  const { blocks, shift, ipaBits } = granule;
  const block = blocks[2];
  const page = 2 ** shift;

  test('a range becomes the largest leaves that fit', () => {
    const table = new GranuleTable(granule);
    const ipa = 4 * block - page;
    expect(table.mapped(ipa, block + 2 * page, 8 * block - page)).toBe('ok');
    expect(table.found()).toEqual([
      { addr: ipa, level: 3, oa: 8 * block - page },
      { addr: 4 * block, level: 2, oa: 8 * block },
      { addr: 5 * block, level: 3, oa: 9 * block },
    ]);
  });

  test('the largest block is that of the lowest level that KVM uses', () => {
    const table = new GranuleTable(granule);
    const top = blocks[1] === 0 ? 2 : 1;
    const bytes = blocks[top];
    expect(table.mapped(bytes, 2 * bytes, 16 * bytes)).toBe('ok');
    expect(table.found()).toEqual([
      { addr: bytes, level: top, oa: 16 * bytes },
      { addr: 2 * bytes, level: top, oa: 17 * bytes },
    ]);
  });

  test('the last page of the IPA space is mapped in the last root page', () => {
    const table = new GranuleTable(granule);
    const last = 2 ** ipaBits - page;
    expect(table.mapped(last, page, page)).toBe('ok');
    expect(table.found()).toEqual([{ addr: last, level: 3, oa: page }]);
    expect(table.mapped(last, 2 * page, page)).toBe('outOfRange');
  });

  test('TLBI hints name the level of the leaf; a removed table has none', () => {
    const table = new GranuleTable(granule);
    table.mapped(block, block, block);
    table.mapped(3 * block, page, block);
    table.ops.log.length = 0;
    table.unmap(block, block);
    table.unmap(3 * block, page);
    const hints = table.ops.log.filter((line) => line.startsWith('tlbi'));
    expect(hints.map((line) => line.slice(line.indexOf('hint')))).toEqual([
      'hint 2',
      'hint 3',
      'hint 0',
      'hint 0',
    ]);
    expect(table.used()).toBe(table.pgt.pgdPages);
  });
});
