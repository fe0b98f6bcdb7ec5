/** Patch 3: the hypervisor's mappings on the new library. */
import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { HYP_PROT } from '../../src/pgtable/hyp-prot.ts';
import { HypSetup, IDMAP } from '../kvm/hyp-helpers.ts';
import { GRANULES } from '../pgtable/hyp-helpers.ts';

describe.each(GRANULES)('$name', ({ shift, block }) => {
  const page = 2 ** shift;

  test('one root page holds the identity map, the linear map and the private range', () => {
    const setup = new HypSetup({ shift });
    const mappings = setup.start();
    drive(mappings.createHypMappings(0, page, HYP_PROT.data));
    drive(mappings.createHypIoMappings(setup.phys(0x0900_0000), page));
    expect(mappings.pgt.pgdPages).toBe(1);
    expect(setup.leaves().map(({ va, is }) => [va, is])).toEqual([
      [setup.hypVaOf(0), 'rw-'],
      [IDMAP - page, 'rw- device'],
      [IDMAP, 'r-x'],
    ]);
  });

  test.each([
    ['inside the range of the kernel', IDMAP, 39],
    ['its last page', 2 ** 39 - page, 39],
    ['one page above', 2 ** 39, 40],
    ['far above', 2 ** 45 + 2 ** 30, 46],
  ])('an identity-mapped page %s: as many bits as that takes', (_name, idmap, vaBits) => {
    const setup = new HypSetup({ shift, idmap, kernelVaBits: 39 });
    const { pgt } = setup.start();
    expect({ bits: pgt.iaBits, pages: pgt.pgdPages }).toEqual({ bits: vaBits, pages: 1 });
    expect(setup.leaves()).toEqual([{ va: idmap, oa: idmap, level: 3, is: 'r-x' }]);
  });

  test('private addresses grow downwards from the identity-mapped page', () => {
    const setup = new HypSetup({ shift });
    const mappings = setup.start();
    const io = (phys: number, size: number): number | string =>
      drive(mappings.createHypIoMappings(setup.phys(phys), size));
    expect(io(0x0900_0000, page)).toBe(IDMAP - page);
    expect(io(0x0a00_0000, page + 1)).toBe(IDMAP - 3 * page);
    expect(io(0x0b00_0004, page)).toBe(IDMAP - 5 * page + 4);
    expect(drive(mappings.createHypExecMappings(setup.phys(0x8000_0000), 1))).toBe(
      IDMAP - 6 * page,
    );
  });

  test('kernel memory is mapped page by page: no block where one would fit', () => {
    const setup = new HypSetup({ shift });
    const mappings = setup.start();
    const pages = 4;
    drive(mappings.createHypMappings(0, pages * page, HYP_PROT.data));
    drive(mappings.createHypMappings(block, block + page, HYP_PROT.data));
    const linear = setup.leaves().filter(({ is }) => is === 'rw-');
    expect(linear.map(({ level }) => level)).toEqual(Array.from({ length: pages + 1 }, () => 3));
  });

  test('kernel memory that is scattered is looked up page by page', () => {
    const frames = [7, 3, 12];
    const physOf = (va: number): number => 0x8000_0000 + (frames[va / page] ?? NaN) * page;
    const setup = new HypSetup({ shift, physOf });
    drive(setup.start().createHypMappings(0, 3 * page, HYP_PROT.data));
    const linear = setup.leaves().filter(({ is }) => is === 'rw-');
    expect(linear.map(({ oa }) => (oa - 0x8000_0000) / page)).toEqual(frames);
  });
});

test('with 4K pages a whole block of kernel memory is 512 pages', () => {
  const setup = new HypSetup();
  drive(setup.start().createHypMappings(0, 0x20_0000, HYP_PROT.data));
  const linear = setup.leaves().filter(({ is }) => is === 'rw-');
  expect(linear).toHaveLength(512);
  expect(new Set(linear.map(({ level }) => level))).toEqual(new Set([3]));
});

test('an identity-mapped page in the linear range is refused', () => {
  const linear = { start: IDMAP - 0x1000, end: IDMAP + 0x1000 };
  expect(new HypSetup({ linear }).init()).toBe('invalid');
});
