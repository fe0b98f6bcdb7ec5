import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { HYP_PROT } from '../../src/pgtable/hyp-prot.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { HypSetup, IDMAP } from './hyp-helpers.ts';

const PAGE = 0x1000;
const M2 = 0x20_0000;

describe('kvmMmuInit', () => {
  test('maps the one page to itself, executable', () => {
    const setup = new HypSetup({ idmap: IDMAP + 0x840 });
    setup.start();
    expect(setup.leaves()).toEqual([{ va: IDMAP, oa: IDMAP, level: 3, is: 'r-x' }]);
  });

  test.each([
    ['the first page of the linear range', IDMAP, IDMAP + PAGE, 'invalid'],
    ['the last page of it', IDMAP - PAGE, IDMAP + PAGE, 'invalid'],
    ['a page that it ends in', IDMAP - PAGE, IDMAP + 0x800, 'invalid'],
    ['just below it', IDMAP + PAGE, IDMAP + M2, 'ok'],
    ['just above it', IDMAP - M2, IDMAP, 'ok'],
  ])('%s', (_name, start, end, outcome) => {
    const setup = new HypSetup({ idmap: IDMAP + 0x840, linear: { start, end } });
    expect(setup.init()).toBe(outcome);
    expect(setup.inUse() === 0).toBe(outcome !== 'ok');
  });

  test.each([0, 1, 2])('gives back everything when %i pages are all there is', (pages) => {
    const setup = new HypSetup({ pages });
    expect(setup.init()).toBe('noMemory');
    expect(setup.inUse()).toBe(0);
  });

  test('more bits than the granule has levels for', () => {
    expect(new HypSetup({ idmap: 2 ** 48 }).init()).toBe('invalid');
  });
});

describe('createHypMappings', () => {
  test('whole pages around the range', () => {
    const setup = new HypSetup();
    const mappings = setup.start();
    expect(drive(mappings.createHypMappings(0x1800, 0x2001, HYP_PROT.readOnly))).toBe('ok');
    expect(setup.leaves().slice(0, -1)).toEqual([
      { va: setup.hypVaOf(0x1000), oa: 0x8000_1000, level: 3, is: 'r--' },
      { va: setup.hypVaOf(0x2000), oa: 0x8000_2000, level: 3, is: 'r--' },
    ]);
  });

  test('an empty range maps nothing', () => {
    const setup = new HypSetup();
    expect(drive(setup.start().createHypMappings(0x1000, 0x1000, HYP_PROT.data))).toBe('ok');
    expect(setup.leaves()).toHaveLength(1);
  });

  test('ends at the first failure and says why', () => {
    const setup = new HypSetup({ pages: 5 });
    const mappings = setup.start();
    const mapped = mappings.createHypMappings(M2 - PAGE, M2 + PAGE, HYP_PROT.data);
    expect(drive(mapped)).toBe('noMemory');
    expect(setup.leaves()).toHaveLength(2);
    expect(drive(mappings.createHypMappings(0, PAGE, Prot.w))).toBe('invalid');
  });

  test('counts the leaves that another request had made', () => {
    const setup = new HypSetup();
    const mappings = setup.start();
    drive(mappings.createHypMappings(0, 2 * PAGE, HYP_PROT.data));
    drive(mappings.createHypMappings(0, 2 * PAGE, HYP_PROT.data));
    expect(mappings.kept).toBe(0);
    expect(drive(mappings.createHypMappings(PAGE, 3 * PAGE, HYP_PROT.readOnly))).toBe('ok');
    expect(mappings.kept).toBe(1);
    expect(setup.leaves().map(({ is }) => is)).toEqual(['rw-', 'rw-', 'r--', 'r-x']);
  });
});

describe('private mappings', () => {
  test('a device keeps its offset in the page and takes every page that it touches', () => {
    const setup = new HypSetup();
    const mappings = setup.start();
    const va = drive(mappings.createHypIoMappings(setup.phys(0x0900_0ff8), 0x10));
    expect(va).toBe(IDMAP - 2 * PAGE + 0xff8);
    expect(setup.leaves().slice(0, 2)).toEqual([
      { va: IDMAP - 2 * PAGE, oa: 0x0900_0000, level: 3, is: 'rw- device' },
      { va: IDMAP - PAGE, oa: 0x0900_1000, level: 3, is: 'rw- device' },
    ]);
  });

  test('begin below the identity-mapped page, wherever the code is in it', () => {
    const setup = new HypSetup({ idmap: IDMAP + 0x840 });
    expect(drive(setup.start().createHypIoMappings(setup.phys(0), 1))).toBe(IDMAP - PAGE);
  });

  test('code is executable', () => {
    const setup = new HypSetup();
    const mappings = setup.start();
    expect(drive(mappings.createHypExecMappings(setup.phys(0x8000_0000), 0x800))).toBe(
      IDMAP - PAGE,
    );
    expect(setup.leaves()[0]).toEqual({ va: IDMAP - PAGE, oa: 0x8000_0000, level: 3, is: 'r-x' });
  });

  test('a block where both addresses happen to be aligned', () => {
    const setup = new HypSetup();
    const mappings = setup.start();
    const va = drive(mappings.createHypIoMappings(setup.phys(M2), M2));
    expect(va).toBe(IDMAP - M2);
    expect(setup.leaves()[0]).toEqual({ va, oa: M2, level: 2, is: 'rw- device' });
  });

  test('address space is not given back when the map fails', () => {
    const setup = new HypSetup({ pages: 4 });
    const mappings = setup.start();
    expect(drive(mappings.createHypIoMappings(setup.phys(0), PAGE))).toBe('noMemory');
    setup.ops.left = 2;
    expect(drive(mappings.createHypIoMappings(setup.phys(0), PAGE))).toBe(IDMAP - 2 * PAGE);
  });

  test.each([
    ['the other half', 2 ** 38 + M2, 2 * M2],
    ['addresses below 0', M2, 2 * M2],
    ['addresses far below 0', M2, 2 ** 39],
    ['the other half, from above the kernel', 2 ** 40 + 2 ** 38 + M2, 2 * M2],
  ])('never reach %s', (_name, idmap, size) => {
    const setup = new HypSetup({ idmap, kernelVaBits: 39 });
    const mappings = setup.start();
    expect(drive(mappings.createHypIoMappings(setup.phys(0), size))).toBe('noMemory');
    expect(setup.leaves()).toHaveLength(1);
    // The refusal took nothing: what fits still does.
    expect(drive(mappings.createHypIoMappings(setup.phys(0), M2))).toBe(idmap - M2);
  });

  test('one bit is compared, as the kernel does it: two halves at once are not noticed', () => {
    const idmap = 2 ** 40 + 2 ** 38;
    const setup = new HypSetup({ idmap, kernelVaBits: 39 });
    const va = drive(setup.start().createHypIoMappings(setup.phys(0), 2 ** 39));
    expect(va).toBe(idmap - 2 ** 39);
  });
});
