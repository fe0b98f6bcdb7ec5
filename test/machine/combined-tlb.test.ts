import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Asid, Ipa, Level, Phys, Va, Vmid } from '../../src/machine/address.ts';
import { CombinedTlb } from '../../src/machine/combined-tlb.ts';
import { MISS } from '../../src/machine/translation-array.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import { TinyMachine } from '../support/tiny-machine.ts';

const level = fc.integer({ min: 0, max: 3 }).map((n) => n as Level);
const pages = (bits: number) =>
  fc.integer({ min: 0, max: 2 ** (bits - 12) - 1 }).map((page) => page * 4096);
const half = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const stage1 = fc.record({
  level,
  isGlobal: fc.boolean(),
  isWritable: fc.boolean(),
  isExecutable: fc.boolean(),
  dirties: fc.boolean(),
});
const stage2 = fc.record({
  level,
  lo: half,
  hi: half,
  ipa: pages(52).map((address) => address as Ipa),
  output: pages(52).map((address) => address as Phys),
});
const context = fc.record({
  vmid: fc.integer({ min: 0, max: 0xffff }).map((id) => id as Vmid),
  asid: fc.integer({ min: 0, max: 0xff }).map((id) => id as Asid),
});
const va = pages(48).map((address) => address as Va);

/** Over guest memory that nothing else uses. */
function fresh(): CombinedTlb {
  return new CombinedTlb(new TinyMachine({ guestFrames: 256 }).guestZone.contents);
}

describe('a combined entry', () => {
  test('gives back what was filled, whole', () => {
    fc.assert(
      fc.property(va, context, stage1, stage2, (address, owner, first, second) => {
        const tlb = fresh();
        tlb.fill(address, owner, first, second);
        const entry = tlb.find((address + 4095) as Va, owner);
        expect(tlb.stage1Of(entry)).toEqual(first);
        expect(tlb.stage2Of(entry)).toEqual(second);
      }),
    );
  });

  test('is found by whom it is for alone', () => {
    fc.assert(
      fc.property(va, va, context, context, stage1, stage2, (one, other, a, b, first, second) => {
        const tlb = fresh();
        tlb.fill(one, a, first, second);
        const isFor = a.vmid === b.vmid && (first.isGlobal || a.asid === b.asid);
        expect(tlb.find(one, b) !== MISS).toBe(isFor);
        expect(tlb.find(other, a) !== MISS).toBe(one === other);
      }),
    );
  });

  test.each<[string, number, (vmid: number, asid: number) => boolean]>([
    ['of a VMID', TlbiKind.stage1, (vmid) => vmid === 2],
    ['of an ASID', TlbiKind.asid, (vmid, asid) => vmid === 2 && asid === 3],
    ['of a VA', TlbiKind.va, (vmid, asid) => vmid === 2 && asid === 3],
  ])('goes with TLBIs %s', (_what, kind, goes) => {
    const address = 0x7000 as Va;
    const first = { level: 3, isGlobal: false, isWritable: true } as const;
    const second = { level: 3, lo: 0, hi: 0, ipa: 0 as Ipa, output: 0 as Phys } as const;
    for (const vmid of [1, 2, 3] as Vmid[]) {
      for (const asid of [2, 3] as Asid[]) {
        const tlb = fresh();
        const flags = { isExecutable: true, dirties: false };
        tlb.fill(address, { vmid, asid }, { ...first, ...flags }, second);
        tlb.perform({ kind: kind as 4, vmid: 2 as Vmid, va: address, asid: 3 as Asid });
        expect(tlb.size).toBe(goes(vmid, asid) ? 0 : 1);
      }
    }
  });
});
