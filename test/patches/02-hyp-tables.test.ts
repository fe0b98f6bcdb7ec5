/** Patch 2: stage-1 tables that know no kernel. */
import { describe, expect, test } from 'vitest';
import { Barrier, drive } from '../../src/engine/explore.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import { hypInit } from '../../src/pgtable/hyp.ts';
import { HYP_PROT } from '../../src/pgtable/hyp-prot.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { TinyMachine } from '../support/tiny-machine.ts';
import { El2Ops, GRANULES, HypTable, attributesOf, barriersOf } from '../pgtable/hyp-helpers.ts';

/** Start level per granule for ranges of va_bits, from the sizes of section 1.1; null: no such level. */
const START_LEVELS = [
  { shift: 12, from: 36, to: 39, level: 1 },
  { shift: 12, from: 40, to: 48, level: 0 },
  { shift: 12, from: 49, to: 52, level: null },
  { shift: 14, from: 36, to: 36, level: 2 },
  { shift: 14, from: 37, to: 47, level: 1 },
  { shift: 14, from: 48, to: 52, level: 0 },
  { shift: 16, from: 36, to: 42, level: 2 },
  { shift: 16, from: 43, to: 52, level: 1 },
] as const;

const MATRIX = START_LEVELS.flatMap(({ shift, from, to, level }) =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ shift, vaBits: from + i, level })),
);

describe('a table for 36 to 52 bits of address', () => {
  test.each(MATRIX)('page shift $shift, $vaBits bits: level $level', ({ shift, vaBits, level }) => {
    const machine = new TinyMachine({ tableBytes: 2 ** shift });
    const ops = new El2Ops(machine.main.memory.tables, 16);
    const pgt = drive(hypInit(new Geometry(shift), vaBits, ops));
    const shape = typeof pgt === 'string' ? pgt : [pgt.startLevel, pgt.pgdPages, pgt.iaBits];
    expect(shape).toEqual(level === null ? 'invalid' : [level, 1, vaBits]);
    expect(ops.left).toBe(level === null ? 16 : 15);
  });

  test.each(GRANULES)('$name: its first and last page can be mapped', ({ shift }) => {
    const vaBits = shift === 12 ? 48 : 52;
    const table = new HypTable({ shift, vaBits });
    const last = 2 ** vaBits - 2 ** shift;
    expect(table.map(0, 1, 0).outcome).toBe('ok');
    expect(table.map(last, 1, 0).outcome).toBe('ok');
    expect(table.leaves().map(({ va }) => va)).toEqual([0, last]);
    expect(table.map(last + 2 ** shift, 1, 0).outcome).toBe('outOfRange');
  });
});

describe('the bits of a protection', () => {
  const XN = 1n << 54n;
  const PAGE = 0x703n; // AF, inner shareable, page

  test.each([
    ['data', HYP_PROT.data, PAGE | 0x40n | XN],
    ['text', HYP_PROT.exec, PAGE | 0xc0n],
    ['read-only data', HYP_PROT.readOnly, PAGE | 0xc0n | XN],
    ['a device', HYP_PROT.device, PAGE | 0x40n | 0x10n | XN],
  ])('%s', (_name, prot, bits) => {
    const table = new HypTable();
    table.map(0, 1, 0x8000_0000, prot);
    expect(table.leaves().map(({ value }) => attributesOf(value))).toEqual([bits]);
  });

  test.each([
    ['writable and executable', Prot.r | Prot.w | Prot.x],
    ['not readable', Prot.w],
    ['executable only', Prot.x],
    ['an executable device', Prot.r | Prot.x | Prot.device],
  ])('%s: refused', (_name, prot) => {
    const table = new HypTable();
    expect(table.map(0, 1, 0, prot).outcome).toBe('invalid');
    expect(table.leaves()).toEqual([]);
  });
});

describe('a map ends with DSB ISHST and ISB', () => {
  test.each([
    ['a page', 16, 0x1000, 'ok'],
    ['nothing to do', 16, 0, 'ok'],
    ['no memory for a table', 1, 0x1000, 'noMemory'],
    ['out of range', 16, 2 ** 48 + 1, 'outOfRange'],
  ])('%s', (_name, pages, size, outcome) => {
    const table = new HypTable({ pages });
    const outcomes: string[] = [];
    const barriers = barriersOf(table.machine, function* () {
      outcomes.push((yield* table.mapping(0, size, 0)).outcome);
    });
    expect(outcomes).toEqual([outcome]);
    expect(barriers.slice(-2)).toEqual([Barrier.dsbIshst, Barrier.isb]);
  });
});
