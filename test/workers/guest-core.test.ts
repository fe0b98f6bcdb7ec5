/** Instructions of a guest to their ends, and a guest's own TLBIs. */
import { NO_SECTIONS } from '../../src/kvm/generations/walk-sections.ts';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import type { Pending } from '../../src/engine/execution.ts';
import { Order, drive, load64, type Op } from '../../src/engine/explore.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { PLAIN_POLICY } from '../../src/kvm/abort-policy.ts';
import { RegisterDevice } from '../../src/kvm/register-device.ts';
import { TwoStageMmu } from '../../src/kvm/two-stage-mmu.ts';
import { Vcpu } from '../../src/kvm/vcpu.ts';
import type { Asid, Ipa, Va, Vmid } from '../../src/machine/address.ts';
import { FAULTED } from '../../src/machine/cpu.ts';
import { GuestMmu } from '../../src/machine/guest-mmu.ts';
import {
  COMPARE_AND_SWAP,
  DC_CLEAN,
  DC_ZVA,
  FETCH,
  LOAD_INDEXED,
  STORE_INDEXED,
  load,
  store,
  type Instruction,
} from '../../src/machine/instruction.ts';
import { encodeStage1 } from '../../src/machine/stage1-registers.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { DATA_REGISTER, GuestCore, OwnCpu } from '../../src/workers/guest-core.ts';
import { GuestTables, guestTableBytes } from '../../src/workers/guest-tables.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { cpuOf, memcacheFor } from '../../src/workers/world.ts';
import { Lab, MIB, PAGE, RAM } from '../support/lab.ts';
import { vmOf } from '../support/vm-of.ts';

const LOAD = load(8, DATA_REGISTER);
const STORE = store(8, DATA_REGISTER);
/** Behind no slot: devices, if there are any. */
const DEVICE = 0x900_0000;
/** Of the guest's tables, in the lab's slot. */
const TABLES = RAM + MIB;
const VA = 0x50_0000_0000;

function lab(overrides: Partial<Scenario> = {}): Lab {
  return new Lab({
    contents: 'page',
    frames: 48,
    stage1: { vaBits: 39, accessFlag: 'preset', dirtyState: false },
    ...overrides,
  });
}

/** vCPU `id` on its CPU, stage 1 off; a device whose registers are the guest's first frames of RAM, if asked for. */
function coreOf(from: Lab, id = 0, withDevice = false): GuestCore {
  const world = from.view(id);
  const registers = world.layout.guestZone.contents;
  const device = new RegisterDevice({ ipa: DEVICE as Ipa, bytes: 0x100, registers });
  const policy = { ...PLAIN_POLICY, devices: withDevice ? [device] : [] };
  const cpu = cpuOf(world, id);
  cpu.load(drive(world.vm.registers()));
  const run = new OwnCpu(cpu);
  const vcpu = new Vcpu({ memcache: memcacheFor(world, id), retried: STATISTICS.retried });
  return new GuestCore({
    vm: vmOf(world, { policy }),
    vcpu,
    run,
    mmu: new GuestMmu(run, world.scenario.machine.features),
    interconnect: world.interconnect,
  });
}

function setData(core: GuestCore, lo: number, hi = 0): void {
  core.vcpu.registers.write(DATA_REGISTER, { lo, hi });
}
const dataOf = (core: GuestCore) => core.vcpu.registers.read(DATA_REGISTER);

function execute(core: GuestCore, address: number, instruction: Instruction): string {
  drive(core.enter());
  const ended = drive(core.execute(address as Va, instruction));
  drive(core.leave());
  return ended;
}

describe('memory', () => {
  test('holds what instructions leave there', () => {
    const core = coreOf(lab());
    const of = (instruction: Instruction, offset = 0) => execute(core, RAM + offset, instruction);
    setData(core, 1, 2);
    expect([of(STORE, 8), of(STORE_INDEXED, 16), of(COMPARE_AND_SWAP, 128)]).toEqual(
      Array.from({ length: 3 }, () => 'done'),
    );
    setData(core, 3, 4);
    // No longer zero.
    of(COMPARE_AND_SWAP, 128);
    const read = (offset: number, instruction = LOAD) => {
      of(instruction, offset);
      return dataOf(core);
    };
    expect(read(128)).toEqual({ lo: 1, hi: 2 });
    expect(read(16, LOAD_INDEXED)).toEqual({ lo: 1, hi: 2 });
    expect(read(8, FETCH)).toEqual({ lo: 1, hi: 0 });
    expect([of(DC_CLEAN, 8), read(8)]).toEqual(['done', { lo: 1, hi: 2 }]);
    // 64 bytes, aligned.
    expect([of(DC_ZVA, 56), read(8), read(16), read(128)]).toEqual([
      'done',
      { lo: 0, hi: 0 },
      { lo: 0, hi: 0 },
      { lo: 1, hi: 2 },
    ]);
    // One translation fault, and the permission to execute.
    expect(core.faults).toBe(2);
  });
});

describe('a device of the kernel', () => {
  test.each([
    [4, 0x40, { lo: -2, hi: 0 }],
    [8, 0x48, { lo: -2, hi: 5 }],
  ])('keeps %i bytes, without an exit to user space', (bytes, offset, value) => {
    const core = coreOf(lab(), 0, true);
    setData(core, -2, 5);
    expect(execute(core, DEVICE + offset, store(bytes, DATA_REGISTER))).toBe('emulated');
    setData(core, 0);
    expect(execute(core, DEVICE + offset, load(bytes, DATA_REGISTER))).toBe('emulated');
    expect([dataOf(core), core.vcpu.exit, core.vcpu.pcAdvance]).toEqual([value, null, 8]);
  });

  test.each([
    [1, 0x40],
    [2, 0x40],
    [4, 0x42],
    [8, 0x44],
  ])('ignores %i bytes at %i', (bytes, offset) => {
    const core = coreOf(lab(), 0, true);
    setData(core, -1, -1);
    execute(core, DEVICE + 0x40, STORE);
    execute(core, DEVICE + offset, store(bytes, DATA_REGISTER));
    expect(execute(core, DEVICE + offset, load(bytes, DATA_REGISTER))).toBe('emulated');
    expect(dataOf(core)).toEqual({ lo: 0, hi: 0 });
    execute(core, DEVICE + 0x40, LOAD);
    expect(dataOf(core)).toEqual({ lo: -1, hi: -1 });
  });

  test.each<[string, Instruction, string]>([
    ['an indexed load', LOAD_INDEXED, 'noSystemCall'],
    ['an indexed store', STORE_INDEXED, 'noSystemCall'],
    ['a compare and swap', COMPARE_AND_SWAP, 'noSystemCall'],
    ['DC ZVA', DC_ZVA, 'noSystemCall'],
    ['DC CVAC, which has nothing to clean', DC_CLEAN, 'emulated'],
    ['a fetch', FETCH, 'injected'],
  ])('takes no %s', (_what, instruction, ended) => {
    const core = coreOf(lab(), 0, true);
    expect(execute(core, DEVICE, instruction)).toBe(ended);
  });
});

test('what nobody emulates is for user space', () => {
  const core = coreOf(lab());
  expect([execute(core, DEVICE + 8, LOAD), core.vcpu.exit?.reason]).toEqual(['exit', 'mmio']);
});

/** A core with stage 1 on: VA is RAM, and VA + PAGE is RAM + PAGE. */
function booted(from: Lab): {
  core: GuestCore;
  tables: GuestTables;
  start: (core: GuestCore) => void;
} {
  const core = coreOf(from);
  const tables = new GuestTables(core, { base: TABLES as Ipa, bytes: 3 * PAGE }, { vaBits: 39 });
  drive(core.enter());
  for (const at of [0, PAGE])
    drive(tables.map((VA + at) as Va, (RAM + at) as Ipa, { isYoung: true, write: 'yes' }));
  drive(core.leave());
  const updates = { setsAccessFlag: false, setsDirty: false };
  const registers = encodeStage1({ root: tables.root, asid: 1 as Asid, vaBits: 39, ...updates });
  const start = (each: GuestCore): void => each.mmu.setRegisters(registers);
  return { core, tables, start };
}

describe('stage 1', () => {
  test("leads to the page, or to a fault that is the guest's", () => {
    const from = lab();
    const { core, start } = booted(from);
    start(core);
    setData(core, 7);
    expect(execute(core, VA + 8, STORE)).toBe('done');
    expect(execute(core, VA + 2 * PAGE, LOAD)).toBe('guestFault');
    expect([
      drive(core.addressTranslate((VA + 8) as Va)),
      drive(core.addressTranslate(8 as Va)),
    ]).toEqual([RAM + 8, null]);
    core.mmu.setRegisters(null);
    setData(core, 0);
    execute(core, RAM + 8, LOAD);
    expect(dataOf(core)).toEqual({ lo: 7, hi: 0 });
  });

  test('of which a table lies outside every slot: a data abort for the guest', () => {
    const from = lab();
    const { core } = booted(from);
    const off = { setsAccessFlag: false, setsDirty: false };
    const nowhere = { root: DEVICE as Ipa, asid: 1 as Asid, vaBits: 39, ...off };
    core.mmu.setRegisters(encodeStage1(nowhere));
    expect(execute(core, VA, LOAD)).toBe('injected');
    expect(core.vcpu.injected).toEqual({ exception: 'dataAbort', far: VA });
    drive(core.enter());
    expect([drive(core.addressTranslate(VA as Va)), core.ended]).toEqual([null, 'injected']);
    drive(core.leave());
    // What was injected once is not injected again.
    core.mmu.setRegisters(null);
    expect(execute(core, RAM + MIB / 2, LOAD)).toBe('done');
  });

  test('takes no more tables than there is memory for', () => {
    const { core, tables } = booted(lab());
    drive(core.enter());
    const map = () => drive(tables.map(0 as Va, RAM as Ipa, { isYoung: true, write: 'yes' }));
    expect(map).toThrow('the guest is out of memory for its tables');
  });
});

describe('a table of the guest', () => {
  const V = 3n;
  const SH = 3n << 8n;
  const [RO, YOUNG, NG, DBM] = [1n << 7n, 1n << 10n, 1n << 11n, 1n << 51n];

  test.each([
    [true, 'yes', YOUNG],
    [false, 'yes', 0n],
    [true, 'dirties', YOUNG | RO | DBM],
    [false, 'dirties', RO | DBM],
  ] as const)('maps a page: young %s, writable %s', (isYoung, write, bits) => {
    const { core, tables } = booted(lab());
    drive(core.enter());
    const far = 0x8_0000_1000;
    drive(tables.map(VA as Va, far as Ipa, { isYoung, write }));
    const entry = drive(tables.entryOf(VA as Va));
    drive(core.execute(entry as number as Va, LOAD));
    const { lo, hi } = dataOf(core);
    expect((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toBe(BigInt(far) | V | SH | NG | bits);
  });

  test.each([
    [39, 0, 3],
    [39, MIB, 5],
    [39, 2 ** 30 + 1, 3 + 2 + 513],
    [48, 2 * MIB, 7],
  ] as const)('of %i bits for %i bytes: %i pages at most', (vaBits, bytes, pages) => {
    expect(guestTableBytes({ vaBits }, bytes)).toBe(pages * PAGE);
  });
});

const isEntered = ({ kind }: Pending): boolean => kind === EventKind.load32;

/** The same, but nothing waits for VMALLE1IS. */
class Hasty extends TwoStageMmu {
  protected override *dropCombined(vmid: Vmid): Op<void> {
    const kind = TlbiKind.stage1;
    yield* this.interconnect.tlbi({ kind, vmid, va: 0 as Va, asid: 0 as Asid });
  }
}

/**
 * A guest takes part in IPAS2E1IS, and is about to store by way of its combined entry; then the host goes on as far as it can. Which came first:
 * the store, or the end of the invalidation?
 */
function first(Mmu: typeof TwoStageMmu): string {
  const from = lab();
  const { core, start } = booted(from);
  start(core);
  execute(core, VA, STORE);
  const host = from.view();
  const { interconnect, layout, memory } = host;
  const { geometry, mmu: live } = host.vm.parts;
  const mmu = new Mmu({
    tables: memory.tables,
    interconnect,
    geometry,
    vmid: live.vmidWord,
    lastVcpus: layout.lastVcpus,
    cpus: layout.interconnect.cpus,
    walks: STATISTICS.walks,
    metLocked: 0,
    sections: NO_SECTIONS,
    hasRangeTlbi: false,
  });
  const order: string[] = [];
  function* access(): Op<void> {
    yield* core.enter();
    yield* core.execute(VA as Va, STORE);
    order.push('store');
    yield* core.leave();
  }
  function* invalidate(): Op<void> {
    yield* mmu.tlbFlushIpa(RAM, 3);
    order.push('invalidated');
  }
  const { contents, frames, contentBytes } = layout.guestZone;
  const isStore = ({ kind, at }: Pending): boolean =>
    kind === EventKind.store64 && at >= contents && at < contents + frames * contentBytes;
  from.run(
    new Scripted([
      { agent: 0, until: isEntered },
      { agent: 1, toEnd: true },
      { agent: 0, until: isStore },
      { agent: 1, toEnd: true },
    ]),
    [access, invalidate],
  );
  return order[0] as string;
}

describe('a host that invalidates an IPA', () => {
  test('has waited for what guests did by way of combined entries', () => {
    expect(first(TwoStageMmu)).toBe('store');
  });

  test('and has not, if it does not wait for VMALLE1IS', () => {
    expect(first(Hasty)).toBe('invalidated');
  });
});

describe('a TLBI by the guest', () => {
  const { va: VAE1, asid: ASIDE1, stage1: VMALLE1 } = TlbiKind;
  /**
   * vCPU 1 maps VA to RAM + PAGE instead, invalidates, and only then writes to RAM what nobody at VA may see; vCPU 0 reads at VA all the
   * time. What vCPU 0 read after that.
   */
  function race(seed: number, invalidate: (core: GuestCore) => Op<void>): readonly number[] {
    const from = lab();
    const { tables, start } = booted(from);
    const [reader, writer] = [coreOf(from, 0), coreOf(from, 1)];
    start(reader);
    const read: number[] = [];
    const entry = drive(tables.entryOf(VA as Va));
    function* readAll(): Op<void> {
      yield* reader.enter();
      for (let i = 0; i < 12; i++) {
        const at = yield* reader.reach(VA as Va, LOAD);
        if (at === FAULTED) throw new Error(reader.ended);
        read.push(yield* load64(at, Order.once));
      }
      yield* reader.leave();
    }
    function* change(): Op<void> {
      yield* writer.enter();
      setData(writer, Number(BigInt.asIntN(32, BigInt(RAM + PAGE) | 0xf03n)));
      yield* writer.execute(entry as number as Va, STORE);
      yield* invalidate(writer);
      setData(writer, 666);
      yield* writer.execute(RAM as Va, STORE);
      yield* writer.leave();
    }
    drive(reader.enter());
    drive(reader.execute(VA as Va, LOAD));
    drive(reader.leave());
    from.run(new RandomScheduler(seed), [readAll, change]);
    return read;
  }

  const SEEDS = Array.from({ length: 60 }, (_, seed) => seed);
  const commands = [
    { kind: VAE1, va: VA as Va, asid: 1 as Asid },
    { kind: ASIDE1, va: 0 as Va, asid: 1 as Asid },
    { kind: VMALLE1, va: 0 as Va, asid: 0 as Asid },
  ] as const;

  test.each(commands)('$kind and its DSB: nobody uses the old translation any more', (command) => {
    for (const seed of SEEDS)
      expect([seed, race(seed, (core) => core.invalidate(command))]).toEqual([
        seed,
        Array.from({ length: 12 }, () => 0),
      ]);
  });

  test.each<[string, (core: GuestCore) => Op<void>]>([
    ['no TLBI', function* () {}],
    ['one of another page', (core) => core.invalidate({ ...commands[0], va: (VA + PAGE) as Va })],
    ['one of another ASID', (core) => core.invalidate({ ...commands[1], asid: 2 as Asid })],
  ])('%s: some schedule shows it', (_what, invalidate) => {
    expect(SEEDS.some((seed) => race(seed, invalidate).includes(666))).toBe(true);
  });

  test('two guests that invalidate do not wait for one another for ever', () => {
    for (const seed of SEEDS) {
      const from = lab();
      const cores = [coreOf(from, 0), coreOf(from, 1)];
      const agents = cores.map(
        (core) =>
          function* (): Op<void> {
            yield* core.enter();
            for (let i = 0; i < 3; i++) yield* core.invalidate(commands[i] as (typeof commands)[0]);
            yield* core.leave();
          },
      );
      const seen = from.run(new RandomScheduler(seed), agents);
      expect(seen.filter(({ kind }) => kind === EventKind.dsbComplete)).toHaveLength(6);
    }
  });

  test('is one of its own VMID', () => {
    const from = lab();
    const core = coreOf(from);
    const seen = from.run(new Scripted([]), [() => core.invalidate(commands[0])]);
    expect(seen.filter(({ kind }) => kind === EventKind.tlbi)).toMatchObject([
      { at: VAE1, newLo: 1, newHi: Math.floor(VA / PAGE) | 0 },
    ]);
  });
});
