/** Patch 20: how many bits of IPA a VM may have follows from the machine alone, no longer from the host's own tables. */
import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { PROFILES } from '../../src/kvm/profile.ts';
import { ipaBitsOfType } from '../../src/kvm/vm-type.ts';
import type { Phys } from '../../src/machine/address.ts';
import type { HostKernel } from '../../src/machine/features.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import { NO_PGD } from '../../src/pgtable/pgtable.ts';
import { stage2Init } from '../../src/pgtable/stage2-init.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { LimitedCache, RecordingOps, RW } from '../pgtable/helpers.ts';
import { Lab } from '../support/lab.ts';
import { TinyMachine, configOf } from '../support/tiny-machine.ts';

/** Pages of 4K, 39 bits of virtual address, on a machine of 48 bits. */
const SMALL_HOST: HostKernel = { pageShift: 12, hostVaBits: 39, paBits: 48, kernelPaBits: 48 };
const { ipaLimit } = PROFILES['5.10'];
const { ipaLimit: legacyLimit } = PROFILES.legacy;

describe('a VM of 48 bits on a host of 39', () => {
  test('was refused: the limit was 43', () => {
    expect(legacyLimit(SMALL_HOST)).toBe(43);
    expect(ipaBitsOfType(48, legacyLimit(SMALL_HOST))).toBe('invalid');
    expect(ipaBitsOfType(44, legacyLimit(SMALL_HOST))).toBe('invalid');
    expect(ipaBitsOfType(43, legacyLimit(SMALL_HOST))).toBe(43);
  });

  test('is created, with a table deeper than the host has', () => {
    expect(ipaLimit(SMALL_HOST)).toBe(48);
    const bits = ipaBitsOfType(48, ipaLimit(SMALL_HOST));
    if (bits === 'invalid') throw new Error(bits);
    const machine = new TinyMachine();
    const zone = machine.main.memory.tables;
    const pgt = drive(
      stage2Init(configOf(bits, new Geometry(SMALL_HOST.pageShift)), new RecordingOps(zone)),
    );
    expect([pgt.pgd === NO_PGD, pgt.startLevel]).toEqual([false, 0]);
    const cache = new LimitedCache(zone, 3);
    const top = { ipa: 2 ** 48 - 4096, size: 4096, phys: 4096 as Phys, prot: RW, cache };
    expect(drive(stage2Map(pgt, top))).toBe('ok');
  });
});

test.each([
  [32, 36],
  [40, 48],
  [52, 52],
])('a machine of %d bits limits every host to so many', (paBits) => {
  for (const hostVaBits of [36, 39, 42, 47, 48]) {
    for (const kernelPaBits of [48, 52])
      expect(ipaLimit({ pageShift: 12, hostVaBits, paBits, kernelPaBits })).toBe(paBits);
  }
});

describe('the type of a VM', () => {
  test('is checked where a VM is made', () => {
    expect(() => new Lab({ ipaBits: 49 })).toThrow('no VM of 49 bits of IPA');
  });

  test.each([
    ['0 is 40 bits', 0, 48, 40],
    ['0 is refused where 40 bits are too many', 0, 36, 'invalid'],
    ['31 bits are too few', 31, 48, 'invalid'],
    ['32 bits are the least', 32, 48, 32],
    ['the limit is legal', 48, 48, 48],
    ['a bit more is not', 49, 48, 'invalid'],
    ['other bits are unknown', 0x100 + 40, 48, 'invalid'],
    ['of a sign, too', -1, 48, 'invalid'],
  ] as const)('%s', (_, type, limit, bits) => {
    expect(ipaBitsOfType(type, limit)).toBe(bits);
  });
});
