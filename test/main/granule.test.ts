/** Names of granules and of the leaves that each has. */
import { expect, test } from 'vitest';
import { granuleOf, leavesBySize } from '../../src/main/granule.ts';
import { Geometry } from '../../src/machine/geometry.ts';

test.each([
  [12, '4K', { '4K': 4, '2M': 3, '1G': 2 }],
  [14, '16K', { '16K': 4, '32M': 3 }],
  [16, '64K', { '64K': 4, '512M': 3 }],
])('pages of 2^%d bytes are %s', (pageShift, name, leaves) => {
  const geometry = new Geometry(pageShift);
  expect(granuleOf(geometry)).toBe(name);
  const counts = leavesBySize(geometry, [1, 2, 3, 4]);
  // In this order: pages first.
  expect(Object.entries(counts)).toEqual(Object.entries(leaves));
});
