import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Asid, Ipa } from '../../src/machine/address.ts';
import {
  decodeStage1,
  encodeStage1,
  stage1StartLevel,
} from '../../src/machine/stage1-registers.ts';

const regime = fc
  .record({
    root: fc.integer({ min: 0, max: 2 ** 36 - 1 }).map((page) => (page * 4096) as Ipa),
    asid: fc.integer({ min: 0, max: 0xff }).map((asid) => asid as Asid),
    vaBits: fc.constantFrom(39, 48),
    setsAccessFlag: fc.boolean(),
    setsDirty: fc.boolean(),
  })
  .map((all) => ({ ...all, setsDirty: all.setsAccessFlag && all.setsDirty }));

describe('TCR_EL1 and TTBR0_EL1', () => {
  test('come back as they were encoded', () => {
    fc.assert(
      fc.property(regime, (each) => {
        expect(decodeStage1(encodeStage1(each))).toEqual(each);
      }),
    );
  });

  test('have their fields where the architecture has them', () => {
    const root = 0x12_3456_7000 as Ipa;
    const plain = { root, asid: 0x9a as Asid, vaBits: 39, setsAccessFlag: true, setsDirty: true };
    const { tcr, ttbr0 } = encodeStage1(plain);
    // HD, HA, IPS of 48 bits, EPD1, inner shareable, write-back twice, T0SZ 25.
    expect(tcr.toString(16)).toBe('18500803519');
    expect([ttbr0.hi.toString(16), ttbr0.lo]).toEqual(['9a0012', 0x3456_7000]);
    expect(encodeStage1({ ...plain, vaBits: 48 }).tcr % 64).toBe(16);
  });

  test('begin at the level that the size gives; other sizes are refused', () => {
    expect([39, 48].map((vaBits) => stage1StartLevel({ vaBits }))).toEqual([1, 0]);
    const odd = { root: 0 as Ipa, asid: 0 as Asid, setsAccessFlag: false, setsDirty: false };
    expect(() => encodeStage1({ ...odd, vaBits: 42 })).toThrow('no stage 1 of 42 bits of VA');
  });

  test('HD means nothing without HA', () => {
    const odd = { root: 0 as Ipa, asid: 0 as Asid, vaBits: 39, setsAccessFlag: false };
    expect(decodeStage1(encodeStage1({ ...odd, setsDirty: true })).setsDirty).toBe(false);
  });
});
