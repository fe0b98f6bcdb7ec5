/** The first handler of an abort (specification 5C, 5F, table of 10.2) and what an abort was about (5B). */
import { drive } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { accessOf, isExternalAbort } from '../../src/kvm/fault-kind.ts';
import type { AbortResult } from '../../src/kvm/vcpu.ts';
import { Attributes, NO_ATTRIBUTES, S2_LO } from '../../src/machine/descriptor.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { Guest, Lab, only, plant, RAM, type PathEntry } from '../support/lab.ts';
import {
  AbortBench,
  DATA_ABORT,
  farOf,
  HVA,
  INSTRUCTION_ABORT,
  IPA,
  PHYS,
  recordOf,
  type SlotSpec,
  type Syndrome,
} from './abort-bench.ts';

/** Of the access, not of a page. */
const AT = IPA + 0x2a8;
const SLOT: SlotSpec = { bytes: 2 ** 21 };

/** Everything that a handler can leave behind. */
interface End {
  readonly result: AbortResult;
  readonly injected: readonly [string, number | null] | null;
  readonly exit: string | null;
  readonly pcAdvance: number;
}

const END: End = { result: 'resume', injected: null, exit: null, pcAdvance: 0 };
const PREFETCH_ABORT: End = { ...END, injected: ['prefetchAbort', farOf(AT)] };
const DATA: End = { ...END, injected: ['dataAbort', farOf(AT)] };
const SERROR: End = { ...END, injected: ['systemError', null] };
const SKIP: End = { ...END, pcAdvance: 4 };
const MMIO: End = { ...END, result: 'exit', exit: 'mmio' };
const NISV: End = { ...END, result: 'exit', exit: 'nisv' };
const ENOSYS: End = { ...END, result: 'noSystemCall' };
const EFAULT: End = { ...END, result: 'fault' };

function endOf(bench: AbortBench, syndrome: Syndrome): End {
  const { vcpu } = bench;
  const result = bench.handle(AT, syndrome);
  const { injected, exit, pcAdvance } = vcpu;
  return {
    result,
    injected: injected === null ? null : [injected.exception, injected.far],
    exit: exit?.reason ?? null,
    pcAdvance,
  };
}

const EXTERNAL = new Set([0x10, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1c, 0x1d, 0x1e, 0x1f]);
const SUPPORTED = new Set([4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

describe.each([
  ['data abort', DATA_ABORT, MMIO],
  ['instruction abort', INSTRUCTION_ABORT, PREFETCH_ABORT],
])('steps 1 and 2, a %s', (_, ec, otherwise) => {
  test('every status code, and the tables as they were', () => {
    const empty = new AbortBench();
    const digest = empty.digest();
    for (let fsc = 0; fsc < 64; fsc++) {
      const bench = new AbortBench();
      const handled = EXTERNAL.has(fsc) ? SERROR : EFAULT;
      const expected = SUPPORTED.has(fsc) ? otherwise : handled;
      expect([fsc, endOf(bench, { ec, fsc, isv: true })]).toEqual([fsc, expected]);
      expect([fsc, isExternalAbort(recordOf(AT, { fsc }))]).toEqual([fsc, EXTERNAL.has(fsc)]);
      expect([bench.digest(), bench.taken()]).toEqual([digest, []]);
    }
  });

  test('an external abort or ECC error that the host claims is nothing to the guest', () => {
    for (const fsc of EXTERNAL) {
      const seen: number[] = [];
      const claimsExternalAbort = ({ statusCode }: { readonly statusCode: number }): boolean => {
        seen.push(statusCode);
        return true;
      };
      const bench = new AbortBench({ policy: { claimsExternalAbort } });
      expect([endOf(bench, { ec, fsc }), seen]).toEqual([END, [fsc]]);
    }
  });

  test('an external abort wins over a slot that exists', () => {
    const bench = new AbortBench({ slot: SLOT });
    expect(endOf(bench, { ec, fsc: 0x10 })).toEqual(SERROR);
    expect([bench.leaf(AT), bench.taken()]).toEqual(['none', []]);
  });
});

const INSTRUCTION: Syndrome = { ec: INSTRUCTION_ABORT };
const ROWS: readonly (readonly [string, Syndrome])[] = [
  ['an instruction abort', INSTRUCTION],
  ['an instruction abort on a stage-1 walk', { ...INSTRUCTION, s1ptw: true }],
  ['a stage-1 walk', { s1ptw: true }],
  ['a stage-1 walk, decoded', { s1ptw: true, isv: true }],
  ['a stage-1 walk of a cache operation', { s1ptw: true, cm: true, write: true }],
  ['a cache operation', { cm: true, write: true }],
  ['a decoded write', { isv: true, write: true }],
  ['a decoded read', { isv: true }],
  ['a write that is not decoded', { write: true }],
  ['a read that is not decoded', {}],
];

/** Step 4 by row of {@link ROWS}: without a slot, with one that is read-only, where a walk that lacks no permission reads; `null`: the slot serves it. */
const NO_SLOT = [PREFETCH_ABORT, PREFETCH_ABORT, DATA, DATA, DATA, SKIP, MMIO, MMIO];
const READ_ONLY = [null, PREFETCH_ABORT, DATA, DATA, DATA, ENOSYS, MMIO, null, ENOSYS, null];

const AGAINST: readonly (readonly [string, SlotSpec | null, boolean, readonly (End | null)[]])[] = [
  ['no slot', null, false, [...NO_SLOT, ENOSYS, ENOSYS]],
  ['no slot, NISV to user space', null, true, [...NO_SLOT, NISV, NISV]],
  ['a slot that goes away', { ...SLOT, isInvalid: true }, false, [...NO_SLOT, ENOSYS, ENOSYS]],
  ['a read-only slot', { ...SLOT, isReadonly: true }, false, READ_ONLY],
  [
    'a read-only slot, NISV to user space',
    { ...SLOT, isReadonly: true },
    true,
    READ_ONLY.map((end) => (end === ENOSYS ? NISV : end)),
  ],
  [
    'a read-only slot that goes away',
    { ...SLOT, isReadonly: true, isInvalid: true },
    false,
    [...NO_SLOT, ENOSYS, ENOSYS],
  ],
  ['any slot', SLOT, true, ROWS.map(() => null)],
];

describe.each(AGAINST)('step 4, %s', (_, slot, nisvToUser, ends) => {
  test.each(ROWS.map(([name, syndrome], i) => [name, syndrome, ends[i] as End | null] as const))(
    '%s',
    (__, syndrome, written) => {
      for (const fsc of [0x04, 0x07, 0x0b, 0x0f]) {
        const mayRead = slot?.isReadonly === true && slot.isInvalid !== true;
        const isReadByWalk = mayRead && syndrome.s1ptw === true && fsc !== 0x0f;
        const end = isReadByWalk ? null : written;
        const options = { policy: { nisvToUser } };
        const bench = new AbortBench(slot === null ? options : { ...options, slot });
        const isServed = end === null && fsc !== 0x0b;
        // A read of a page whose permission failed is no fault that can be.
        const isImpossible =
          fsc === 0x0f && accessOf(recordOf(AT, { ...syndrome, fsc })) === 'read';
        const served = isServed && isImpossible ? EFAULT : END;
        const digest = bench.digest();
        expect([fsc, endOf(bench, { ...syndrome, fsc })]).toEqual([fsc, end ?? served]);
        // Otherwise neither the host nor the tables were touched (invariant 63).
        const isTouched = isServed && !isImpossible;
        expect([fsc, bench.log.length > 0]).toEqual([fsc, isTouched]);
        expect([fsc, bench.digest() === digest]).toEqual([fsc, !isTouched || fsc === 0x0f]);
      }
    },
  );
});

test('a skipped instruction of 16 bits is stepped over by 2', () => {
  expect(endOf(new AbortBench(), { cm: true, il: false })).toEqual({ ...SKIP, pcAdvance: 2 });
});

test('the exit of an access that is not decoded says CM, WnR and FSC, and the address to the byte', () => {
  const bench = new AbortBench({
    slot: { ...SLOT, isReadonly: true },
    policy: { nisvToUser: true },
  });
  bench.handle(AT, { cm: true, write: true, fsc: 0x0f, sas: 3, srt: 17, sse: true, sf: true });
  expect(bench.vcpu.exit).toEqual({ reason: 'nisv', iss: 0x14f, ipa: AT });
});

test('step 3: the user address is that of the frame in its slot', () => {
  const bench = new AbortBench({ slot: { ...SLOT, ipa: IPA - 0x3000 } });
  expect(endOf(bench, { write: true })).toEqual(END);
  expect(bench.taken()).toContain('pin +3000 for writing');
  expect(bench.leaf(AT)).toBe(`3 ${(PHYS + 0x3000).toString(16)} rw-`);
});

test('step 3: a frame of 64 KiB is found by any 4 KiB of it', () => {
  const machine = { ...new Lab().world.scenario.machine, pageShift: 16 };
  const bench = new AbortBench({ slot: SLOT, scenario: { machine } });
  expect(bench.handle(IPA + 0x1_f008, { write: true })).toBe('resume');
  expect(bench.taken()).toContain('pin +10000 for writing');
  expect(bench.leaf(IPA + 0x1_0000)).toBe(`3 ${(PHYS + 0x1_0000).toString(16)} rw-`);
});

test('step 5: a slot beyond the IPA space is our bug, and said so', () => {
  const bench = new AbortBench({ slot: { ...SLOT, ipa: 2 ** 40 } });
  expect(() => bench.handle(2 ** 40, { isv: true })).toThrow('a slot beyond the IPA space');
});

describe('step 7: what user_mem_abort found', () => {
  test('device memory that is executed is a prefetch abort', () => {
    const found = { status: 'device' } as const;
    const bench = new AbortBench({ slot: SLOT, found });
    expect(endOf(bench, INSTRUCTION)).toEqual(PREFETCH_ABORT);
    expect([bench.leaf(AT), bench.log.includes('table')]).toEqual(['none', false]);
  });

  test('a lost race is nothing to tell: -EAGAIN never leaves', () => {
    const bench = new AbortBench({ slot: SLOT });
    bench.outcome = 'again';
    expect(endOf(bench, { write: true })).toEqual(END);
  });

  test.each(['noMemory', 'invalid', 'outOfRange', 'fault'] as const)(
    '%s of the table code goes to user space',
    (outcome) => {
      const bench = new AbortBench({ slot: SLOT });
      bench.outcome = outcome;
      expect(endOf(bench, { write: true })).toEqual({ ...END, result: outcome });
    },
  );
});

describe('the access of a fault', () => {
  const TRANSLATION = 0x07;
  const ACCESS = 0x0b;
  const PERMISSION = 0x0f;

  test.each([
    [DATA_ABORT, false, false, 'read'],
    [DATA_ABORT, false, true, 'write'],
    [INSTRUCTION_ABORT, false, false, 'exec'],
    [INSTRUCTION_ABORT, false, true, 'exec'],
    // What a stage-1 walk was for says nothing of what it did.
    [DATA_ABORT, true, false, 'read'],
    [DATA_ABORT, true, true, 'read'],
    [INSTRUCTION_ABORT, true, false, 'read'],
  ] as const)('class %i, S1PTW %s, WnR %s: %s', (ec, s1ptw, write, access) => {
    for (const fsc of [TRANSLATION, ACCESS, ...(s1ptw ? [] : [PERMISSION])])
      expect(accessOf(recordOf(AT, { ec, s1ptw, write, fsc }))).toBe(access);
  });

  test.each([DATA_ABORT, INSTRUCTION_ABORT])(
    'a walk of class %i without permission writes',
    (ec) => {
      expect(accessOf(recordOf(AT, { ec, s1ptw: true, fsc: PERMISSION }))).toBe('write');
    },
  );

  test('a walk that would write to a read-only slot gets a data abort', () => {
    const bench = new AbortBench({ slot: { ...SLOT, isReadonly: true } });
    expect(endOf(bench, { s1ptw: true, fsc: PERMISSION })).toEqual(DATA);
  });
});

describe('an access-flag fault', () => {
  const AF = new Attributes(S2_LO.AF, 0);
  const FSC_AF_L3 = 0x0b;

  test('sets AF with one walk and no invalidation', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    drive(guest.touch(RAM, 'write'));
    const { at, value } = lab.path(RAM).at(-1) as PathEntry;
    plant(at, value.withAttributes(NO_ATTRIBUTES, AF));
    const other = new Guest(lab, 1);
    const events = lab.run(new Scripted([]), [() => other.touch(RAM, 'read')]);
    expect(other.vcpu.fault.statusCode).toBe(0x0b);
    expect(other.results).toEqual(['resume']);
    expect(lab.leaf(RAM)).toEqual({ level: 3, hex: '00400000800007ff' });
    expect(lab.counter(0, STATISTICS.walks)).toBe(1);
    expect(only(events, EventKind.tlbi)).toEqual([]);
    expect(lab.used('guest')).toBe(1);
  });

  test('tells the host that its page was used, once the lock is released', () => {
    const lab = new Lab();
    const frame = lab.world.memory.guest.layout.base;
    const bench = new AbortBench({ slot: { ...SLOT, hva: HVA + (frame - PHYS) } });
    bench.handle(AT, { write: true });
    bench.taken();
    expect([endOf(bench, { fsc: FSC_AF_L3 }), bench.taken()]).toEqual([
      END,
      [`accessed ${frame.toString(16)}`],
    ]);
  });

  test('of a device has no page to tell of', () => {
    const bench = new AbortBench({ slot: SLOT, found: { status: 'device' } });
    bench.handle(AT, { write: true });
    bench.taken();
    expect([endOf(bench, { fsc: FSC_AF_L3 }), bench.taken()]).toEqual([END, []]);
  });

  test('on an entry that is gone, or a table that is gone, is handled too', () => {
    const bench = new AbortBench({ slot: SLOT });
    const digest = bench.digest();
    expect(endOf(bench, { fsc: FSC_AF_L3 })).toEqual(END);
    expect([bench.digest(), bench.taken()]).toEqual([digest, []]);
    drive(bench.lab.world.vm.freeStage2());
    expect([endOf(bench, { fsc: FSC_AF_L3 }), bench.taken()]).toEqual([END, []]);
  });
});
