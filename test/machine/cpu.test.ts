import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive, type Word } from '../../src/engine/explore.ts';
import {
  ipa,
  phys,
  type Ipa,
  type Level,
  type Phys,
  type Vmid,
} from '../../src/machine/address.ts';
import { FAULTED, type AccessKind, type Cpu } from '../../src/machine/cpu.ts';
import { FRAME_BYTES, GUEST_RAM_BASE } from '../../src/machine/frames.ts';
import type { MachineFeatures } from '../../src/machine/features.ts';
import { FSC } from '../../src/machine/syndrome.ts';
import { NO_HINT, TlbiKind, type Stage2Command, type TlbiCommand } from '../../src/machine/tlbi.ts';
import { encodeVttbr } from '../../src/machine/vtcr.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { TinyMachine, descriptorLoads, type Seen, configOf } from '../support/tiny-machine.ts';

const PAGE_BITS = 0x0040_0000_0000_07ffn;
const R = 1n << 6n;
const W = 1n << 7n;
const AF = 1n << 10n;
const XN = 1n << 54n;
const AT = ipa(0x4060_3000);
const VTCR = configOf(40).vtcr;

/** The frame of guest RAM as the address field of a descriptor. */
const frame = (index: number): bigint => BigInt(GUEST_RAM_BASE + index * FRAME_BYTES);
const page = (index: number, bits: bigint = PAGE_BITS): bigint => frame(index) | bits;
const block = (index: number): bigint => (frame(index) | PAGE_BITS) & ~2n;

class Bench {
  readonly machine: TinyMachine;
  readonly root: Phys;
  readonly cpu: Cpu;

  constructor(guestFrames = 8, features: Partial<MachineFeatures> = {}) {
    this.machine = new TinyMachine({ guestFrames, cpus: 2, features });
    this.root = drive(this.machine.main.memory.tables.zallocContiguous(2));
    this.cpu = this.machine.main.cpu(0);
    this.load(1);
    drive(this.cpu.enterGuest());
  }

  load(vmid: number, root: Phys = this.root): void {
    this.cpu.load({ vtcr: VTCR, vttbr: encodeVttbr(root, vmid as Vmid) });
  }

  plant(address: number, level: Level, value: bigint): void {
    this.machine.plant(this.root, 1, address, level, value);
  }

  /** Where an access came to, the entries it loaded, and every event. */
  access(
    address: Ipa = AT,
    kind: AccessKind = 'read',
  ): { at: Word; loads: number; seen: readonly Seen[] } {
    let at = FAULTED;
    const { cpu } = this;
    const seen = this.machine.alone(function* () {
      at = yield* cpu.access(address, kind);
    });
    return { at, loads: descriptorLoads(this.machine, seen), seen };
  }

  wordOf(index: number, offset = 0): Word {
    return this.machine.main.memory.wordOf(phys(Number(frame(index)) + offset));
  }
}

/** Entries of a CPU's TLB. */
function cached(cpu: Cpu): number {
  let n = 0;
  cpu.tlb.forEach(() => n++);
  return n;
}

describe('an access', () => {
  test('comes to the byte of the frame, and loads no descriptor the second time', () => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5));
    expect(bench.access(ipa(AT + 0x18), 'write')).toMatchObject({
      at: bench.wordOf(5, 0x18),
      loads: 3,
    });
    expect(bench.access(ipa(AT + 0x20), 'read')).toMatchObject({
      at: bench.wordOf(5, 0x20),
      loads: 0,
    });
  });

  test('is told with its place, page number and descriptor', () => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5));
    const { seen } = bench.access(ipa(AT + 8));
    expect(seen.filter((e) => e.kind === EventKind.guestAccess)).toMatchObject([
      { at: bench.wordOf(5, 8), lo: 0x40603, hi: Number(BigInt.asIntN(32, page(5))) },
    ]);
  });

  test.each([
    ['2M', 2, 0x4020_0000, 512],
    ['1G', 1, 0x4000_0000, 8],
  ] as const)('in a %s block is an offset from its base', (_what, level, base, frames) => {
    const bench = new Bench(frames);
    bench.plant(base, level, block(0));
    const last = frames - 1;
    const address = ipa(base + last * FRAME_BYTES + 0x30);
    expect(bench.access(address)).toMatchObject({ at: bench.wordOf(last, 0x30), loads: level });
    expect(bench.access(address).loads).toBe(0);
    // Another page of the block: the same entry.
    expect(bench.access(ipa(base + FRAME_BYTES))).toMatchObject({ at: bench.wordOf(1), loads: 0 });
  });

  test('prefers no block to the page it has cached', () => {
    const bench = new Bench(512);
    bench.plant(0x4000_0000, 1, block(0));
    bench.access(ipa(0x4000_0000));
    bench.plant(0x8020_3000, 3, page(5));
    expect(bench.access(ipa(0x8020_3000))).toMatchObject({ at: bench.wordOf(5), loads: 3 });
    expect(bench.access(ipa(0x8020_3000))).toMatchObject({ at: bench.wordOf(5), loads: 0 });
  });

  test('uses what it has cached, whatever the table says now', () => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5));
    bench.access();
    bench.plant(AT, 3, 0n);
    expect(bench.access()).toMatchObject({ at: bench.wordOf(5), loads: 0 });
  });

  test('uses nothing that another VMID cached', () => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5));
    bench.access();
    drive(bench.cpu.leaveGuest());
    bench.load(2);
    expect(bench.access().loads).toBe(3);
  });
});

describe('a fault', () => {
  test.each([1, 2, 3] as const)('of translation at level %d says where', (level) => {
    const bench = new Bench();
    bench.plant(AT, level, 0n);
    const address = ipa(AT + 0x18);
    expect(bench.access(address, 'write').at).toBe(FAULTED);
    const { fault } = bench.cpu;
    expect(fault).toMatchObject({ type: FSC.translation, level, far: address });
    expect(fault.faultIpa()).toBe(AT);
    expect(fault.writeNotRead()).toBe(true);
  });

  test.each([
    ['read', R],
    ['write', W],
  ] as const)('of a %s is a permission fault without bit %d', (kind, bit) => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5, PAGE_BITS & ~bit));
    expect(bench.access(AT, kind).at).toBe(FAULTED);
    expect(bench.cpu.fault).toMatchObject({ type: FSC.permission, level: 3, far: AT });
    expect(bench.cpu.fault.writeNotRead()).toBe(kind === 'write');
    const other = kind === 'read' ? 'write' : 'read';
    expect(bench.access(AT, other).at).toBe(bench.wordOf(5));
  });

  test('of execution is a permission fault with XN, an instruction abort', () => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5));
    expect(bench.access(AT, 'exec').at).toBe(FAULTED);
    expect(bench.cpu.fault).toMatchObject({ type: FSC.permission, level: 3 });
    expect(bench.cpu.fault.isInstructionAbort()).toBe(true);
    const open = new Bench();
    open.plant(AT, 3, page(5, PAGE_BITS & ~XN));
    expect(open.access(AT, 'exec').at).toBe(open.wordOf(5));
  });

  test.each([
    ['none', 0n, true],
    ['EL0 only', 1n << 53n, false],
    ['nobody', XN, false],
    ['EL1 only', XN | (1n << 53n), true],
  ] as const)('with XNX a fetch at EL1 reads both XN bits: %s', (_who, xn, isAllowed) => {
    const bench = new Bench(8, { xnx: true });
    bench.plant(AT, 3, page(5, (PAGE_BITS & ~XN) | xn));
    expect(bench.access(AT, 'exec').at).toBe(isAllowed ? bench.wordOf(5) : FAULTED);
  });

  test('without XNX bit 53 means nothing', () => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5, (PAGE_BITS & ~XN) | (1n << 53n)));
    expect(bench.access(AT, 'exec').at).toBe(bench.wordOf(5));
  });

  test('of permission in a block has the level of the block, cached or not', () => {
    const bench = new Bench();
    bench.plant(0x4060_0000, 2, block(0) & ~W);
    for (const loads of [2, 0]) {
      expect(bench.access(AT, 'write')).toMatchObject({ at: FAULTED, loads });
      expect(bench.cpu.fault).toMatchObject({ type: FSC.permission, level: 2 });
    }
  });

  test('of the access flag caches nothing', () => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5, PAGE_BITS & ~AF));
    expect(bench.access().at).toBe(FAULTED);
    expect(bench.cpu.fault).toMatchObject({ type: FSC.access, level: 3 });
    expect(cached(bench.cpu)).toBe(0);
    bench.plant(AT, 3, page(5));
    expect(bench.access().at).toBe(bench.wordOf(5));
  });

  test('beyond the IPA space is a translation fault at level 0', () => {
    const bench = new Bench();
    const address = ipa(2 ** 40 + 8);
    expect(bench.access(address).at).toBe(FAULTED);
    expect(bench.cpu.fault).toMatchObject({ type: FSC.translation, level: 0, far: address });
  });

  test('keeps the record of the last one', () => {
    const bench = new Bench();
    bench.access(AT, 'write');
    const { fault } = bench.cpu;
    bench.plant(AT, 3, page(5));
    bench.access();
    expect(bench.cpu.fault).toBe(fault);
  });
});

describe('TLBI', () => {
  const by = (
    kind: Stage2Command['kind'],
    address: number = AT,
    level: Level = NO_HINT,
    vmid = 1,
  ): TlbiCommand => ({ kind, level, ipa: ipa(address), vmid: vmid as Vmid });

  /** Loads of an access to the cached page after a TLBI: 0 kept all, 1 lost the leaf, 3 lost the tables too. */
  function loadsAfter(command: TlbiCommand): number {
    const bench = new Bench();
    bench.plant(AT, 3, page(5));
    bench.access();
    drive(bench.machine.main.interconnect.tlbi(command));
    const { at, loads } = bench.access();
    expect(at).toBe(bench.wordOf(5));
    return loads;
  }

  test.each([
    ['the IPA with the hint of its leaf: the leaf', by(TlbiKind.ipa, AT, 3), 1],
    ['the IPA, an address inside the page: the leaf', by(TlbiKind.ipa, AT + 0xff8, 3), 1],
    ['the IPA without a hint: the tables too', by(TlbiKind.ipa), 3],
    ['the IPA with another hint: nothing', by(TlbiKind.ipa, AT, 2), 0],
    ['another page: nothing', by(TlbiKind.ipa, AT + 0x1000, 3), 0],
    ['another page without a hint: the tables of the way', by(TlbiKind.ipa, AT + 0x1000), 0],
    ['the IPA of another VMID: nothing', by(TlbiKind.ipa, AT, NO_HINT, 2), 0],
    ['the VMID: everything', by(TlbiKind.vmid, 0), 3],
    ['another VMID: nothing', by(TlbiKind.vmid, 0, NO_HINT, 2), 0],
    ['all: everything', by(TlbiKind.all, 0, NO_HINT, 2), 3],
  ])('by %s', (_what, command, loads) => {
    expect(loadsAfter(command)).toBe(loads);
  });

  test('without a hint takes the tables on the way to a neighbour', () => {
    const bench = new Bench();
    bench.plant(AT, 3, page(5));
    bench.plant(AT + 0x1000, 3, page(6));
    bench.access();
    drive(bench.machine.main.interconnect.tlbi(by(TlbiKind.ipa, AT + 0x1000)));
    expect(bench.access(ipa(AT + 0x1000)).loads).toBe(3);
  });

  test.each([
    ['hinted', 2, 1],
    ['unhinted', NO_HINT, 2],
  ] as const)('%s takes a block by any address inside', (_what, hint, loads) => {
    const bench = new Bench();
    bench.plant(0x4060_0000, 2, block(0));
    bench.access();
    drive(bench.machine.main.interconnect.tlbi(by(TlbiKind.ipa, AT + 0x5000, hint)));
    expect(bench.access().loads).toBe(loads);
  });

  test('names pages above 16 TiB', () => {
    const bench = new Bench();
    const far = ipa(0xff_8000_3000);
    bench.plant(far, 3, page(5));
    bench.access(far);
    drive(bench.machine.main.interconnect.tlbi(by(TlbiKind.ipa, 0x7f_8000_3000, 3)));
    expect(bench.access(far).loads).toBe(0);
    drive(bench.machine.main.interconnect.tlbi(by(TlbiKind.ipa, far, 3)));
    expect(bench.access(far).loads).toBe(1);
  });
});

describe('a local TLBI', () => {
  const command: TlbiCommand = { kind: TlbiKind.ipa, vmid: 1 as Vmid, ipa: AT, level: 3 };

  test('removes from its own CPU alone, at once, and is counted', () => {
    const bench = new Bench();
    const other = bench.machine.main.cpu(1);
    other.load({ vtcr: VTCR, vttbr: encodeVttbr(bench.root, 1 as Vmid) });
    bench.plant(AT, 3, page(5));
    bench.access();
    drive(other.access(AT, 'read'));
    drive(bench.cpu.leaveGuest());
    bench.cpu.invalidateLocal(command);
    expect(bench.machine.word(bench.machine.interconnect.posted)).toBe(0);
    expect(bench.machine.counter(STATISTICS.tlbi.local)).toBe(1);
    expect(bench.machine.counter(STATISTICS.tlbi.byIpa)).toBe(0);
    expect([cached(bench.cpu), cached(other)]).toEqual([0, 1]);
  });

  test('and new registers are for the host alone', () => {
    const bench = new Bench();
    expect(() => bench.cpu.invalidateLocal(command)).toThrow('local TLBI in guest mode');
    expect(() => bench.load(2)).toThrow('stage-2 registers loaded in guest mode');
    drive(bench.cpu.leaveGuest());
    bench.cpu.invalidateLocal(command);
    bench.load(2);
    expect(bench.machine.counter(STATISTICS.tlbi.local)).toBe(1);
  });
});

test('registers decide root, VMID and input size', () => {
  const bench = new Bench();
  drive(bench.cpu.leaveGuest());
  const tables = bench.machine.main.memory.tables;
  const root = drive(tables.zallocContiguous(4));
  const vtcr = configOf(32).vtcr;
  bench.cpu.load({ vtcr, vttbr: encodeVttbr(root, 9 as Vmid) });
  bench.machine.plant(root, 2, 0xc020_3000, 3, page(6));
  expect(bench.access(ipa(0xc020_3000))).toMatchObject({ at: bench.wordOf(6), loads: 2 });
  const entries: unknown[] = [];
  bench.cpu.tlb.forEach((address, level, vmid) => entries.push([address, level, vmid]));
  expect(entries).toEqual([[0xc020_3000, 3, 9]]);
  expect(bench.access(ipa(2 ** 32)).at).toBe(FAULTED);
});
