import { expect, test } from 'vitest';
import { legacyIpaLimit } from '../../../src/pgtable/legacy/ipa-limit.ts';

/** The examples of specification section 1.6. */
const HOSTS = [
  { name: '4K, 39', pageShift: 12, hostVaBits: 39, limit: 43 },
  { name: '4K, 48', pageShift: 12, hostVaBits: 48, limit: 52 },
  { name: '64K, 42', pageShift: 16, hostVaBits: 42, limit: 46 },
  { name: '16K, 47', pageShift: 14, hostVaBits: 47, limit: 51 },
] as const;

test.each(HOSTS)('a host with $name bits of address: $limit bits of IPA', ({ limit, ...host }) => {
  expect(legacyIpaLimit({ ...host, paBits: 52, kernelPaBits: 52 })).toBe(limit);
});

test('never more than the machine or the kernel has', () => {
  const host = { pageShift: 12, hostVaBits: 48 };
  expect(legacyIpaLimit({ ...host, paBits: 40, kernelPaBits: 48 })).toBe(40);
  expect(legacyIpaLimit({ ...host, paBits: 52, kernelPaBits: 48 })).toBe(48);
});
