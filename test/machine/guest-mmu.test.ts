import { describe, expect, test } from 'vitest';
import type { Pending } from '../../src/engine/execution.ts';
import { Order, drive, store64, type Op } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import type { Asid, Ipa, Va, Vmid } from '../../src/machine/address.ts';
import { UNRELIABLE_IPA } from '../../src/machine/guest-mmu.ts';
import {
  ADDRESS_TRANSLATE,
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
import { TlbiKind, NO_HINT } from '../../src/machine/tlbi.ts';
import { countOf, descriptorLoads } from '../support/tiny-machine.ts';
import { EventKind } from '../../src/engine/events.ts';
import {
  PAGE,
  S1_AF,
  S1_BLOCK,
  S1_DBM,
  S1_NG,
  S1_PAGE,
  S1_PXN,
  S1_RO,
  S2_AF,
  S2_PAGE,
  S2_W,
  TwoStage,
  pageOf,
  type Reached,
} from '../support/two-stage.ts';

const LOAD = load(8, 3);
const STORE = store(8, 3);
const VA = 5 * PAGE + 0x128;
/** Where VA comes to: guest page 9. */
const AT = 9 * PAGE + 0x128;
const leaf = (n: number, bits: bigint = S1_PAGE): bigint => BigInt(pageOf(n)) | bits;

/** VA 5 * PAGE is guest page 9. */
function bench(regime = {}, bits: bigint = S1_PAGE): TwoStage {
  const two = new TwoStage(16, regime);
  two.mapAll();
  two.plantGuest(5, leaf(9, bits));
  return two;
}

/** The ESR, FAR and HPFAR's IPA of a fault that went to the hypervisor. */
function exit(reached: Reached): { esr: number; far: number; ipa: number } {
  if (!('hypervisor' in reached)) throw new Error(JSON.stringify(reached));
  const { esr, far } = reached.hypervisor;
  return { esr, far, ipa: reached.hypervisor.faultIpa() };
}

/** The same of one that the guest gets itself. */
function guestFault(reached: Reached): { ec: number; iss: number } {
  if (!('guest' in reached)) throw new Error(JSON.stringify(reached));
  return { ec: reached.guest.exceptionClass, iss: reached.guest.esr & 0x1ff_ffff };
}

/** Whether VA still comes to page 9 after what is done, when the tables say page 10 by then. */
function isStale(act: (two: TwoStage) => void, bits = S1_PAGE): boolean {
  const two = bench({}, bits);
  two.access(VA, LOAD);
  two.plantGuest(5, leaf(10, bits));
  act(two);
  const reached = two.access(VA, LOAD);
  if (!('at' in reached)) throw new Error(JSON.stringify(reached));
  return reached.at === AT;
}

const vmid = 1 as Vmid;
const ipas2 = (n: number) =>
  ({ kind: TlbiKind.ipa, vmid, ipa: pageOf(n) as Ipa, level: NO_HINT }) as const;
const stage1 = (kind: 4 | 5 | 6, va = 0, asid = 0, id = 1) =>
  ({ kind, vmid: id as Vmid, va: va as Va, asid: asid as Asid }) as const;

describe('an access through both stages', () => {
  test('comes to its byte, by three guest descriptors, each through stage 2', () => {
    const two = bench();
    const { reached, seen } = two.record(VA, LOAD);
    expect(reached).toEqual({ at: AT });
    // Four translations by stage 2: three descriptors and the page.
    expect(countOf(seen, EventKind.guestAccess)).toBe(4);
  });

  test('loads no descriptor the second time', () => {
    const two = bench();
    two.access(VA, LOAD);
    const { reached, seen } = two.record(VA + 8, STORE);
    expect(reached).toEqual({ at: AT + 8 });
    expect([descriptorLoads(two.machine, seen), countOf(seen, EventKind.load64)]).toEqual([0, 0]);
    // The event still says which guest page it was.
    const event = seen.find(({ kind }) => kind === EventKind.guestAccess);
    expect([event?.at, event?.lo]).toEqual([two.machine.guestZone.contents + AT + 8, 0x40009]);
  });

  test.each([
    [1, 0x4000_0000, 0x4000_9128],
    [2, 0x0020_0000, 0x0020_9128],
  ] as const)('uses a guest block of level %d', (level, _base, va) => {
    const two = new TwoStage();
    two.mapAll();
    two.setDescriptor(0, level === 1 ? 1 : 0, level === 1 ? leaf(0, S1_BLOCK) : leaf(1, 3n));
    two.setDescriptor(1, 1, leaf(0, S1_BLOCK));
    expect(two.access(va, LOAD)).toEqual({ at: AT });
  });

  test('takes of a block only the address bits that blocks have', () => {
    const two = new TwoStage();
    two.mapAll();
    two.setDescriptor(0, 0, leaf(1, 3n));
    two.setDescriptor(1, 1, leaf(3, S1_BLOCK));
    expect(two.access(0x0020_9128, LOAD)).toEqual({ at: AT });
  });

  test('knows no block at level 0', () => {
    const two = bench({ vaBits: 48 });
    two.setDescriptor(0, 0, leaf(0, S1_BLOCK));
    expect(two.access(VA, LOAD)).toMatchObject({ guest: { far: VA } });
    expect(two.mmu.guestFault.statusCode).toBe(0x04);
  });

  test('of 48 bits begins a level higher', () => {
    const two = bench({ vaBits: 48, root: pageOf(3) as Ipa });
    two.setDescriptor(3, 1, leaf(0, 3n));
    expect(two.access(2 ** 39 + VA, LOAD)).toEqual({ at: AT });
    expect(two.access(VA, LOAD)).toMatchObject({ guest: { far: VA } });
  });

  test('is flat while stage 1 is off', () => {
    const two = bench();
    two.mmu.setRegisters(null);
    expect(two.access(pageOf(4) + 8, LOAD)).toEqual({ at: 4 * PAGE + 8 });
    expect(two.addressTranslate(VA)).toBe(VA);
  });
});

describe('a fault of stage 1', () => {
  const SAME = 0x25;

  test.each<[string, (two: TwoStage) => void, Instruction, number, number]>([
    ['an invalid entry', (two) => two.plantGuest(5, 0n), LOAD, SAME, 0x07],
    ['no type at level 3', (two) => two.plantGuest(5, leaf(9, S1_BLOCK)), STORE, SAME, 0x47],
    ['an invalid table', (two) => two.setDescriptor(1, 0, 0n), LOAD, SAME, 0x06],
    ['the access flag', (two) => two.plantGuest(5, leaf(9, S1_PAGE & ~S1_AF)), LOAD, SAME, 0x0b],
    ['a write', (two) => two.plantGuest(5, leaf(9, S1_PAGE | S1_RO)), STORE, SAME, 0x4f],
    ['an execution', (two) => two.plantGuest(5, leaf(9, S1_PAGE | S1_PXN)), FETCH, 0x21, 0x0f],
    ['maintenance', (two) => two.plantGuest(5, 0n), DC_CLEAN, SAME, 0x147],
  ])("%s is the guest's own", (_what, edit, instruction, ec, iss) => {
    const two = bench();
    edit(two);
    expect(guestFault(two.access(VA, instruction))).toEqual({ ec, iss });
  });

  test('beyond the VA space is of level 0', () => {
    const two = bench();
    expect(guestFault(two.access(2 ** 39 + VA, LOAD))).toEqual({ ec: SAME, iss: 0x04 });
  });

  test('of a permission comes from the combined entry, too', () => {
    const two = bench({}, S1_PAGE | S1_RO);
    two.access(VA, LOAD);
    two.setDescriptor(2, 5, 0n);
    expect(guestFault(two.access(VA, STORE))).toEqual({ ec: SAME, iss: 0x4f });
  });

  test('comes before one of stage 2', () => {
    const two = bench({}, S1_PAGE | S1_RO);
    two.map(9, 0n);
    expect(two.access(VA, STORE)).toHaveProperty('guest');
    expect(two.access(VA, LOAD)).toHaveProperty('hypervisor');
  });
});

describe('a fault of stage 2', () => {
  // EC and IL of an abort from a lower level.
  const DATA = 0x9200_0000;
  const FETCHED = 0x8200_0000;
  // ISV, SAS 8 bytes, SRT 3, SF.
  const DECODED = 0x01c3_8000;

  test.each<[string, Instruction, number]>([
    ['a load', LOAD, DATA + DECODED + 0x07],
    ['a store', STORE, DATA + DECODED + 0x47],
    ['a load of a byte', load(1, 31), DATA + 0x011f_0007],
    ['a store of a halfword', store(2, 0), DATA + 0x0140_0047],
    ['a load of a word', load(4, 1), DATA + 0x0181_0007],
    ['an indexed load', LOAD_INDEXED, DATA + 0x07],
    ['an indexed store', STORE_INDEXED, DATA + 0x47],
    ['a compare and swap, which a read would have met', COMPARE_AND_SWAP, DATA + 0x07],
    ['DC ZVA', DC_ZVA, DATA + 0x47],
    ['DC CVAC', DC_CLEAN, DATA + 0x147],
    ['a fetch', FETCH, FETCHED + 0x07],
  ])('of %s: its syndrome, FAR the VA, HPFAR the IPA', (_what, instruction, esr) => {
    const two = bench();
    two.map(9, 0n);
    expect(exit(two.access(VA, instruction))).toEqual({ esr, far: VA, ipa: pageOf(9) });
    // The same without stage 1, where the VA is the IPA.
    two.mmu.setRegisters(null);
    const far = pageOf(9) + 0x10;
    expect(exit(two.access(far, instruction))).toEqual({ esr, far, ipa: pageOf(9) });
  });

  test.each<[string, Instruction, number]>([
    ['a load', LOAD, DATA + 0x87],
    ['a store', STORE, DATA + 0xc7],
    ['a compare and swap', COMPARE_AND_SWAP, DATA + 0x87],
    ['DC CVAC', DC_CLEAN, DATA + 0x1c7],
    ['a fetch', FETCH, FETCHED + 0x87],
  ])('on the walk of %s: S1PTW, nothing decoded, HPFAR the table', (_what, instruction, esr) => {
    const two = bench();
    two.map(2, 0n);
    expect(exit(two.access(VA, instruction))).toEqual({ esr, far: VA, ipa: pageOf(2) });
  });

  test('on the walk of an AT aborts it; it asks nothing of the page', () => {
    const two = bench();
    two.map(2, 0n);
    expect(two.addressTranslate(VA)).toBe('aborted');
    const { esr, far } = two.mmu.fault;
    expect([esr, far, two.mmu.fault.faultIpa()]).toEqual([DATA + 0x1c7, VA, pageOf(2)]);
    two.map(2);
    two.map(9, 0n);
    expect(two.addressTranslate(VA)).toBe(pageOf(9) + 0x128);
    two.plantGuest(5, 0n);
    expect(two.addressTranslate(VA)).toBe('fault');
    expect(ADDRESS_TRANSLATE.accesses).toEqual([]);
  });

  test.each<[string, Instruction, bigint, number]>([
    ['a store', STORE, S2_PAGE & ~S2_W, DATA + DECODED + 0x4f],
    ['a compare and swap, which reads first', COMPARE_AND_SWAP, S2_PAGE & ~S2_W, DATA + 0x4f],
    ['a fetch', FETCH, S2_PAGE, FETCHED + 0x0f],
  ])(
    'of a permission of %s has no HPFAR until it is completed',
    (_what, instruction, bits, esr) => {
      const two = bench();
      two.map(9, bits);
      // Once by a walk, once by the combined entry that a load leaves.
      for (const first of [instruction, LOAD]) {
        two.access(VA, first);
        expect(exit(two.access(VA, instruction))).toEqual({ esr, far: VA, ipa: UNRELIABLE_IPA });
        expect(drive(two.mmu.completeFault())).toBe(true);
        expect(two.mmu.fault).toMatchObject({ esr, far: VA });
        expect(two.mmu.fault.faultIpa()).toBe(pageOf(9));
      }
    },
  );

  test('of a permission cannot be completed once the guest has unmapped the page', () => {
    const two = bench();
    two.map(9, S2_PAGE & ~S2_W);
    two.access(VA, STORE);
    const { fault } = two.mmu;
    two.setDescriptor(2, 5, 0n);
    expect(drive(two.mmu.completeFault())).toBe(false);
    expect(two.mmu.fault).toBe(fault);
    two.plantGuest(5, leaf(9));
    two.invalidate(ipas2(2));
    two.map(2, 0n);
    expect(drive(two.mmu.completeFault())).toBe(false);
  });

  test('of a translation needs no completion, nor one on a walk', () => {
    const two = bench();
    two.map(9, S2_PAGE & ~S2_AF);
    expect(exit(two.access(VA, LOAD))).toMatchObject({ ipa: pageOf(9) });
    two.setDescriptor(2, 5, 0n);
    expect(drive(two.mmu.completeFault())).toBe(true);
    const updating = bench({ setsAccessFlag: true }, S1_PAGE & ~S1_AF);
    updating.map(2, S2_PAGE & ~S2_W);
    const { fault } = updating.mmu;
    expect(exit(updating.access(VA, LOAD))).toEqual({ esr: DATA + 0x8f, far: VA, ipa: pageOf(2) });
    expect(updating.mmu.fault).not.toBe(fault);
    expect(drive(updating.mmu.completeFault())).toBe(true);
    expect(updating.mmu.fault.faultIpa()).toBe(pageOf(2));
  });
});

describe('what hardware keeps in descriptors', () => {
  const old = S1_PAGE & ~S1_AF;

  test.each([LOAD, STORE, FETCH, DC_CLEAN])('the access flag: set by a $name', (instruction) => {
    const two = bench({ setsAccessFlag: true }, old);
    expect(two.access(VA, instruction)).toEqual(
      instruction === FETCH ? { hypervisor: two.mmu.fault } : { at: AT },
    );
    expect(two.descriptor(2, 5)).toBe(leaf(9));
  });

  test('by an AT as well', () => {
    const two = bench({ setsAccessFlag: true }, old);
    two.addressTranslate(VA);
    expect(two.descriptor(2, 5)).toBe(leaf(9));
  });

  test('the dirty state: at the first write, though a read has cached the page', () => {
    const two = bench({ setsAccessFlag: true, setsDirty: true }, S1_PAGE | S1_RO | S1_DBM);
    two.access(VA, LOAD);
    expect(two.descriptor(2, 5)).toBe(leaf(9, S1_PAGE | S1_RO | S1_DBM));
    expect(two.access(VA, STORE)).toEqual({ at: AT });
    expect(two.descriptor(2, 5)).toBe(leaf(9, S1_PAGE | S1_DBM));
    two.setDescriptor(2, 5, 0n);
    expect(two.access(VA, STORE)).toEqual({ at: AT });
  });

  test('walks again when the descriptor changed before it was updated', () => {
    const two = bench({ setsAccessFlag: true }, old);
    const { mmu, machine } = two;
    let at = 0;
    const descriptor = machine.guestZone.contents + 2 * PAGE + 5 * 8;
    const [access, other] = [
      function* (): Op<void> {
        at = yield* mmu.access(VA as Va, LOAD);
      },
      function* (): Op<void> {
        yield* store64(descriptor, Number(BigInt.asIntN(32, leaf(10, old))), 0, Order.once);
      },
    ];
    const script = [
      { agent: 0, until: ({ kind }: Pending) => kind === EventKind.cas64 },
      { agent: 1, toEnd: true },
    ] as const;
    const { result } = machine.run([access, other], new Scripted(script));
    expect(result.outcome).toBe('completed');
    expect(at - machine.guestZone.contents).toBe(10 * PAGE + 0x128);
    expect(two.descriptor(2, 5)).toBe(leaf(10));
  });

  test.each([
    ['HD alone, without HA', { setsDirty: true }],
    ['HA alone', { setsAccessFlag: true }],
  ])('nothing of the dirty state with %s', (_what, regime) => {
    const two = bench(regime, S1_PAGE | S1_RO | S1_DBM);
    expect(two.access(VA, STORE)).toHaveProperty('guest');
  });

  test('nothing on a machine that cannot', () => {
    const two = new TwoStage(16, { setsAccessFlag: true, setsDirty: true }, false);
    two.mapAll();
    two.plantGuest(5, leaf(9, old));
    expect(two.access(VA, LOAD)).toHaveProperty('guest');
    two.plantGuest(5, leaf(9, S1_PAGE | S1_RO | S1_DBM));
    expect(two.access(VA, STORE)).toHaveProperty('guest');
  });

  test('a table that stage 2 keeps read-only is a write fault on the walk', () => {
    const two = bench({ setsAccessFlag: true }, old);
    two.map(2, S2_PAGE & ~S2_W);
    expect(exit(two.access(VA, LOAD))).toMatchObject({ ipa: pageOf(2) });
    expect(two.descriptor(2, 5)).toBe(leaf(9, old));
  });
});

describe('a combined entry', () => {
  const global = S1_PAGE & ~S1_NG;
  const { va: VAE1, asid: ASIDE1, stage1: VMALLE1 } = TlbiKind;
  const vmalls12 = { kind: TlbiKind.vmid, vmid, ipa: 0 as Ipa, level: NO_HINT } as const;

  test.each<[string, boolean, (two: TwoStage) => void, bigint]>([
    ['nothing', true, () => {}, S1_PAGE],
    ['VAE1IS', false, (two) => two.invalidate(stage1(VAE1, VA, 1)), S1_PAGE],
    ['VAE1IS of another page', true, (two) => two.invalidate(stage1(VAE1, VA + PAGE, 1)), S1_PAGE],
    ['VAE1IS of another ASID', true, (two) => two.invalidate(stage1(VAE1, VA, 2)), S1_PAGE],
    ['VAE1IS of another VMID', true, (two) => two.invalidate(stage1(VAE1, VA, 1, 2)), S1_PAGE],
    ['VAE1IS, if global, by any ASID', false, (two) => two.invalidate(stage1(VAE1, VA, 2)), global],
    ['ASIDE1IS', false, (two) => two.invalidate(stage1(ASIDE1, 0, 1)), S1_PAGE],
    ['ASIDE1IS of another', true, (two) => two.invalidate(stage1(ASIDE1, 0, 2)), S1_PAGE],
    ['ASIDE1IS, if global', true, (two) => two.invalidate(stage1(ASIDE1, 0, 1)), global],
    ['VMALLE1IS', false, (two) => two.invalidate(stage1(VMALLE1)), global],
    ['VMALLE1IS of another VMID', true, (two) => two.invalidate(stage1(VMALLE1, 0, 0, 2)), global],
    ['VMALLS12E1IS', false, (two) => two.invalidate(vmalls12), global],
    [
      'VMALLS12E1IS of another',
      true,
      (two) => two.invalidate({ ...vmalls12, vmid: 2 as Vmid }),
      global,
    ],
    ['ALLE1IS', false, (two) => two.invalidate({ ...vmalls12, kind: TlbiKind.all }), global],
    // It knows no IPA: this is why KVM follows it by VMALLE1IS.
    ['IPAS2E1IS of its page', true, (two) => two.invalidate(ipas2(9)), S1_PAGE],
    [
      'another ASID, and back',
      true,
      (two) => {
        two.setRegime({ asid: 2 as Asid });
        two.access(VA + PAGE, LOAD);
        two.setRegime({});
      },
      S1_PAGE,
    ],
  ])('after %s: stale %s', (_what, stale, act, bits) => {
    expect(isStale(act, bits)).toBe(stale);
  });

  test('is for its ASID, unless it is global', () => {
    for (const [bits, page] of [
      [S1_PAGE, 10],
      [global, 9],
    ] as const) {
      const two = bench({}, bits);
      two.access(VA, LOAD);
      two.plantGuest(5, leaf(10, bits));
      two.setRegime({ asid: 2 as Asid });
      expect(two.access(VA, LOAD)).toEqual({ at: page * PAGE + 0x128 });
    }
  });

  test('is for its VMID', () => {
    const two = bench({}, global);
    two.access(VA, LOAD);
    two.plantGuest(5, leaf(10, global));
    drive(two.cpu.leaveGuest());
    two.loadVm(2);
    drive(two.cpu.enterGuest());
    expect(two.access(VA, LOAD)).toEqual({ at: 10 * PAGE + 0x128 });
  });

  test('outlives the stage-2 entry it was made from, until VMALLE1IS', () => {
    const two = bench();
    two.access(VA, LOAD);
    two.map(9, S2_PAGE, 11);
    two.invalidate(ipas2(9));
    expect(two.access(VA, LOAD)).toEqual({ at: AT });
    two.invalidate(stage1(VMALLE1));
    expect(two.access(VA, LOAD)).toEqual({ at: 11 * PAGE + 0x128 });
  });

  test('refilled between the two TLBIs from a stale stage-2 entry would stay', () => {
    const two = bench();
    two.access(VA, LOAD);
    two.map(9, S2_PAGE, 11);
    // The wrong order: combined entries first.
    two.invalidate(stage1(VMALLE1));
    two.access(VA, LOAD);
    two.invalidate(ipas2(9));
    expect(two.access(VA, LOAD)).toEqual({ at: AT });
  });

  test('is found by its whole VA', () => {
    const two = new TwoStage(16, { vaBits: 48 });
    two.mapAll();
    const va = 2 ** 48 - PAGE;
    for (const n of [0, 1, 2]) two.setDescriptor(n, 511, leaf(n + 1, 3n));
    two.setDescriptor(3, 511, leaf(9));
    expect(two.access(va + 8, LOAD)).toEqual({ at: 9 * PAGE + 8 });
    expect(two.access(va + 16, LOAD)).toEqual({ at: 9 * PAGE + 16 });
    expect(two.cpu.combined.size).toBe(1);
    expect(two.access(va - 2 ** 44, LOAD)).toHaveProperty('guest');
  });
});
