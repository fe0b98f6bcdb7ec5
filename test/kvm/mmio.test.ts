/** Accesses without memory (specification 5D): decoded, given to a device or to user space, and finished. */
import type { Op } from '#port';
import { describe, expect, test } from 'vitest';
import { completeMmio, type MmioDevice } from '../../src/kvm/mmio.ts';
import type { RegisterValue } from '../../src/kvm/registers.ts';
import type { Ipa } from '../../src/machine/address.ts';
import { AbortBench, IPA, type Syndrome } from './abort-bench.ts';

/** 64 bytes, of which every value read is all ones but for the lowest bit. */
class TestDevice implements MmioDevice {
  readonly ipa: Ipa = (IPA + 0x100) as Ipa;
  readonly bytes = 0x40;
  readonly log: string[] = [];

  *read(offset: number, bytes: number): Op<RegisterValue> {
    this.log.push(`read ${bytes} at ${offset}`);
    return { lo: bytes < 4 ? 2 ** (8 * bytes) - 2 : -2, hi: bytes === 8 ? -1 : 0 };
  }

  *write(offset: number, bytes: number, { lo, hi }: RegisterValue): Op<void> {
    this.log.push(`write ${bytes} at ${offset}: ${hi >>> 0} ${lo >>> 0}`);
  }
}

const X5 = 5;
const XZR = 31;
const VALUE: RegisterValue = { lo: 0x8765_4321 | 0, hi: 0x0fed_cba9 };

function withDevice(): readonly [AbortBench, TestDevice] {
  const device = new TestDevice();
  const bench = new AbortBench({ policy: { devices: [device] } });
  bench.vcpu.registers.write(X5, VALUE);
  return [bench, device];
}

const decoded = (syndrome: Syndrome): Syndrome => ({ isv: true, srt: X5, ...syndrome });

describe('a device of the kernel', () => {
  test.each([
    [0, 'write 1 at 8: 0 33'],
    [1, 'write 2 at 8: 0 17185'],
    [2, 'write 4 at 8: 0 2271560481'],
    [3, 'write 8 at 8: 267242409 2271560481'],
  ])('takes a store of 2^%i bytes of the register', (sas, line) => {
    const [bench, device] = withDevice();
    expect(bench.handle(IPA + 0x108, decoded({ write: true, sas }))).toBe('resume');
    expect([device.log, bench.vcpu.exit, bench.vcpu.pcAdvance]).toEqual([[line], null, 4]);
    expect(bench.vcpu.registers.read(X5)).toEqual(VALUE);
  });

  test.each<[string, Syndrome, RegisterValue]>([
    ['a byte', { sas: 0 }, { lo: 0xfe, hi: 0 }],
    ['a signed byte for W', { sas: 0, sse: true }, { lo: -2, hi: 0 }],
    ['a signed byte for X', { sas: 0, sse: true, sf: true }, { lo: -2, hi: -1 }],
    ['a halfword', { sas: 1, sf: true }, { lo: 0xfffe, hi: 0 }],
    ['a signed halfword for X', { sas: 1, sse: true, sf: true }, { lo: -2, hi: -1 }],
    ['a word', { sas: 2, sf: true }, { lo: -2, hi: 0 }],
    ['a signed word for X', { sas: 2, sse: true, sf: true }, { lo: -2, hi: -1 }],
    ['a doubleword', { sas: 3, sf: true }, { lo: -2, hi: -1 }],
  ])('answers a load of %s', (_, syndrome, value) => {
    const [bench, device] = withDevice();
    expect(bench.handle(IPA + 0x13f - (2 ** (syndrome.sas ?? 0) - 1), decoded(syndrome))).toBe(
      'resume',
    );
    expect(bench.vcpu.registers.read(X5)).toEqual(value);
    expect([device.log.length, bench.vcpu.pcAdvance]).toEqual([1, 4]);
  });

  test('loads nothing into XZR, and stores its zero', () => {
    const [bench, device] = withDevice();
    bench.handle(IPA + 0x100, decoded({ sas: 3, srt: XZR }));
    bench.handle(IPA + 0x100, decoded({ sas: 3, srt: XZR, write: true, il: false }));
    expect(bench.vcpu.registers.read(XZR)).toEqual({ lo: 0, hi: 0 });
    expect(device.log).toEqual(['read 8 at 0', 'write 8 at 0: 0 0']);
    expect(bench.vcpu.pcAdvance).toBe(6);
  });

  test.each([
    ['before it', 0xff, 0],
    ['across its begin', 0xfc, 3],
    ['across its end', 0x13c, 3],
    ['after it', 0x140, 0],
  ])('is not asked %s', (_, offset, sas) => {
    const [bench, device] = withDevice();
    expect(bench.handle(IPA + offset, decoded({ sas }))).toBe('exit');
    expect([device.log, bench.vcpu.pcAdvance]).toEqual([[], 0]);
  });

  test('is asked for a write to a read-only slot too', () => {
    const device = new TestDevice();
    const slot = { bytes: 2 ** 21, isReadonly: true };
    const bench = new AbortBench({ slot, policy: { devices: [device] } });
    expect(bench.handle(IPA + 0x100, decoded({ write: true }))).toBe('resume');
    expect(device.log).toEqual(['write 1 at 0: 0 0']);
  });

  test('is not asked where the instruction is not decoded', () => {
    const [bench, device] = withDevice();
    expect(bench.handle(IPA + 0x100, { write: true, sas: 2 })).toBe('noSystemCall');
    expect(device.log).toEqual([]);
  });
});

describe('user space', () => {
  test('is told all of a store', () => {
    const bench = new AbortBench();
    bench.vcpu.registers.write(X5, VALUE);
    expect(bench.handle(IPA + 0x2a8, decoded({ write: true, sas: 1 }))).toBe('exit');
    expect(bench.vcpu.exit).toEqual({
      reason: 'mmio',
      access: {
        ipa: IPA + 0x2a8,
        bytes: 2,
        isWrite: true,
        register: X5,
        isSignExtended: false,
        is64Bit: false,
        instructionBytes: 4,
      },
      value: { lo: 0x4321, hi: 0 },
    });
    // The instruction ends when user space comes back.
    expect(bench.vcpu.pcAdvance).toBe(0);
  });

  test('answers a load, and only then is it over', () => {
    const bench = new AbortBench();
    bench.vcpu.registers.write(X5, VALUE);
    bench.handle(IPA + 0x2a8, decoded({ sas: 0, sse: true, sf: true }));
    const { exit, registers } = bench.vcpu;
    if (exit?.reason !== 'mmio') throw new Error('no exit');
    expect([exit.value, registers.read(X5)]).toEqual([{ lo: 0, hi: 0 }, VALUE]);
    completeMmio(bench.vcpu, exit.access, { lo: 0x80, hi: 0 });
    expect(registers.read(X5)).toEqual({ lo: -128, hi: -1 });
    expect([registers.read(4), registers.read(6)]).toEqual([
      { lo: 0, hi: 0 },
      { lo: 0, hi: 0 },
    ]);
    expect(bench.vcpu.pcAdvance).toBe(4);
  });
});
