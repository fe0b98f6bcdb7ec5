/** The words of a host process: none shared by two structures, only the levels that areas can use, no areas that cannot be. */
import { expect, test } from 'vitest';
import { HVA_BASE, hostMemoryLayout, mappingLevel } from '../../../src/kvm/host/layout.ts';
import type { VmaSpec } from '../../../src/kvm/host/vma.ts';
import { GEOMETRY_4K, Geometry } from '../../../src/machine/geometry.ts';
import { area } from './host-lab.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Lays out and notes what was taken. */
function laidOut(vmas: readonly VmaSpec[]) {
  const taken: { readonly at: number; readonly bytes: number }[] = [];
  let next = 8;
  const space = {
    take(bytes: number): number {
      const at = next;
      next += Math.ceil(bytes / 8) * 8;
      taken.push({ at, bytes });
      return at;
    },
  };
  const layout = hostMemoryLayout(space, { geometry: GEOMETRY_4K, vmas, frames: 10 });
  return {
    layout,
    bytesAt: (at: number) => taken.filter((each) => each.at === at).map(({ bytes }) => bytes),
  };
}

test('entries for each level that some area can use, over all areas from the first address on', () => {
  const small = laidOut([area('anonymous', 2 * PAGE, 2 * PAGE)]);
  expect(small.layout.levels.map(({ level }) => level)).toEqual([3]);
  expect(small.bytesAt(small.layout.levels[0]?.entries ?? 0)).toEqual([4 * 4]);
  const large = laidOut([
    area('transparentHuge', 0, 3 * MIB),
    area('shared', 4 * MIB, 2 * PAGE, { pgoff: 5 }),
    area('hugetlb', GIB, GIB, { hugeBytes: GIB }),
  ]);
  expect(large.layout.levels.map(({ level }) => level)).toEqual([1, 2, 3]);
  const bytes = large.layout.levels.map(({ entries }) => large.bytesAt(entries)[0]);
  expect(bytes).toEqual([2 * 4, 1024 * 4, 2 * 512 * 512 * 4]);
  expect(large.bytesAt(large.layout.populated)).toContain(1024 * 4);
  expect([large.layout.sharedPages, large.bytesAt(large.layout.shared)]).toEqual([7, [28]]);
  expect(large.bytesAt(large.layout.pageFlags)).toEqual([40]);
});

test.each([
  [12, 64 * 1024, 3],
  [12, 2 * MIB, 2],
  [12, 32 * MIB, 2],
  [12, GIB, 1],
  [14, 2 * MIB, 3],
  [14, 32 * MIB, 2],
  [14, 64 * GIB, 2],
  [16, 2 * MIB, 3],
  [16, 512 * MIB, 2],
])('granule 2^%d: pages of %d bytes are mapped at level %d', (shift, bytes, level) => {
  expect(mappingLevel(new Geometry(shift), bytes)).toBe(level);
});

test.each<[string, readonly VmaSpec[], string]>([
  ['overlap', [area('anonymous', 0, 2 * PAGE), area('shared', PAGE, PAGE)], 'overlap'],
  ['lie below guest memory', [area('anonymous', -PAGE, PAGE)], 'below guest memory'],
  ['begin inside a page', [area('anonymous', 100, PAGE)], 'whole pages'],
  ['end inside a page', [area('anonymous', 0, PAGE + 1)], 'whole pages'],
  [
    'begin inside a huge page',
    [area('hugetlb', PAGE, 2 * MIB, { hugeBytes: 2 * MIB })],
    'whole pages',
  ],
  ['end inside a huge page', [area('hugetlb', 0, 3 * MIB, { hugeBytes: 2 * MIB })], 'whole pages'],
  [
    'are a device beyond what entries hold',
    [area('pfnmap', 0, PAGE, { pgoff: 2 ** 26 })],
    'device',
  ],
])('areas that %s are refused', (_name, vmas, message) => {
  expect(() => laidOut(vmas)).toThrow(message);
});

test('more frames than entries can name are refused', () => {
  const spec = { geometry: GEOMETRY_4K, vmas: [], frames: 2 ** 26 + 1 };
  expect(() => hostMemoryLayout({ take: () => HVA_BASE }, spec)).toThrow('do not fit');
});
