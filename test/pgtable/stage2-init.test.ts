import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive } from '../../src/engine/explore.ts';
import type { Phys } from '../../src/machine/address.ts';
import { FRAME_BYTES } from '../../src/machine/frames.ts';
import { GEOMETRY_4K } from '../../src/machine/geometry.ts';
import { NO_PGD } from '../../src/pgtable/pgtable.ts';
import { stage2Destroy, stage2Handle, stage2Init } from '../../src/pgtable/stage2-init.ts';
import { TinyMachine, countOf, configOf } from '../support/tiny-machine.ts';
import { G1, M2, PAGE, RecordingOps, TestTable } from './helpers.ts';

const AT = 0x4020_0000;
const PA = 0x8000_0000;

describe('init', () => {
  test.each([
    [32, 2, 4],
    [34, 2, 16],
    [39, 1, 1],
    [40, 1, 2],
    [43, 1, 16],
    [48, 0, 1],
  ] as const)('of %d bits has start level %d and %d zeroed pages', (iaBits, startLevel, pages) => {
    const machine = new TinyMachine({ tableFrames: 40 });
    const zone = machine.main.memory.tables;
    const ops = new RecordingOps(zone);
    drive(zone.zalloc());
    const pgt = drive(stage2Init(configOf(iaBits), ops));
    expect(pgt).toMatchObject({ iaBits, iaLimit: 2 ** iaBits, startLevel, pgdPages: pages, ops });
    expect(pgt.geometry).toBe(GEOMETRY_4K);
    // Concatenated tables are aligned to their total size.
    expect(pgt.pgd % (pages * FRAME_BYTES)).toBe(0);
    for (let page = 0; page < pages; page++) {
      expect(drive(zone.count((pgt.pgd + page * FRAME_BYTES) as Phys))).toBe(1);
    }
    const first = zone.wordOf(pgt.pgd) / 4;
    const words = machine.memory.words.subarray(first, first + (pages * FRAME_BYTES) / 4);
    expect(words.every((word) => word === 0)).toBe(true);
    expect(ops.log).toEqual(['publish']);
  });

  test('publishes the zeros after it wrote them', () => {
    const machine = new TinyMachine();
    const ops = new RecordingOps(machine.main.memory.tables);
    const seen = machine.alone(function* () {
      yield* stage2Init(configOf(40), ops);
    });
    const kinds = seen.map(({ kind }) => kind);
    expect(countOf(seen, EventKind.fill)).toBe(2);
    expect(kinds.lastIndexOf(EventKind.barrier)).toBeGreaterThan(kinds.lastIndexOf(EventKind.fill));
  });

  test('without memory for the root gives no table', () => {
    const machine = new TinyMachine({ tableFrames: 1 });
    const ops = new RecordingOps(machine.main.memory.tables);
    const pgt = drive(stage2Init(configOf(40), ops));
    expect(pgt.pgd).toBe(NO_PGD);
    expect(machine.main.memory.tables.accounts()).toEqual({ used: 0, free: 0 });
    drive(stage2Destroy(pgt));
    expect(ops.log).toEqual(['publish']);
  });
});

test('a handle starts where VTCR says, not where a table of its size usually does', () => {
  const { ops } = new TestTable();
  const usual = configOf(44);
  // SL0 1 instead of 2.
  const vtcr = (usual.vtcr & ~0xc0) | 0x40;
  const pgd = 0x10_0000_0000 as Phys;
  expect(stage2Handle(usual, pgd, ops)).toMatchObject({ iaBits: 44, startLevel: 0 });
  expect(stage2Handle({ ...usual, vtcr }, pgd, ops)).toMatchObject({
    iaBits: 44,
    startLevel: 1,
    pgd,
  });
});

describe('destroy', () => {
  test.each([32, 34, 40, 48])('of %d bits returns every page, without a TLBI', (ipaBits) => {
    const table = new TestTable({ ipaBits, tableFrames: 64 });
    const top = 2 ** ipaBits;
    table.map(0x1f_f000, 0x40_2000, 0x801f_f000);
    table.map(G1 - PAGE, 2 * PAGE, PA);
    table.map(top - PAGE, PAGE, PA);
    table.map(top - 4 * M2, M2, PA);
    table.checkPages();
    table.logged();
    drive(stage2Destroy(table.pgt));
    // Nor is anything cleaned or published: the hardware no longer sees the table.
    expect(table.logged()).toEqual([]);
    const { used, free } = table.zone.accounts();
    expect(free).toBe(used);
  });

  test('frees each page once and stores no entry', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.map(AT + M2, M2, PA);
    const stores = table.storesOf(() => stage2Destroy(table.pgt));
    expect(stores).toEqual([]);
    const { used, free } = table.zone.accounts();
    expect(free).toBe(used);
  });

  test('frees an empty table, and what a failed mapping left', () => {
    const empty = new TestTable();
    drive(stage2Destroy(empty.pgt));
    expect(empty.zone.accounts()).toEqual({ used: 2, free: 2 });
    const table = new TestTable({ cachePages: 1 });
    expect(table.map(AT, PAGE, PA)).toBe('noMemory');
    drive(stage2Destroy(table.pgt));
    expect(table.zone.accounts()).toEqual({ used: 3, free: 3 });
  });

  test('leaves stale entries alone: they count for nothing', () => {
    const table = new TestTable();
    table.map(AT, 2 * PAGE, PA);
    table.map(AT + M2, PAGE, PA);
    table.unmap(AT, PAGE);
    table.unmap(AT + M2, PAGE);
    drive(stage2Destroy(table.pgt));
    const { used, free } = table.zone.accounts();
    expect(free).toBe(used);
  });
});
