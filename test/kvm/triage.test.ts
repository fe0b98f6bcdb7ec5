/** The first handler of an abort (specification 5C, 5F, table of 10.2) and what an abort was about (5B). */
import { drive } from '#port';
import { describe, expect, test } from 'vitest';
import { isExecFault, isExternalAbort, isWriteFault } from '../../src/kvm/fault-kind.ts';
import { handleGuestAbort } from '../../src/kvm/guest-abort.ts';
import type { AbortResult } from '../../src/kvm/vcpu.ts';
import { Attributes, NO_ATTRIBUTES, S2_LO } from '../../src/machine/descriptor.ts';
import { FaultRecord } from '../../src/machine/syndrome.ts';
import { digestTable } from '../../src/pgtable/digest.ts';
import type { Pgtable } from '../../src/pgtable/pgtable.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { Guest, Lab, only, plant, RAM, type PathEntry } from '../support/lab.ts';

const INSTRUCTION_ABORT = 0x20;
const DATA_ABORT = 0x24;
const TRANSLATION_L3 = 0x07;
const OUTSIDE = 0x1000_0000;

interface Syndrome {
  readonly ec?: number;
  readonly fsc?: number;
  readonly write?: boolean;
  readonly s1ptw?: boolean;
  readonly cm?: boolean;
  readonly isv?: boolean;
}

const flag = (isSet: boolean | undefined, bit: number): number => (isSet ? 2 ** bit : 0);

function recordOf(ipa: number, syndrome: Syndrome): FaultRecord {
  const { ec = DATA_ABORT, fsc = TRANSLATION_L3, write, s1ptw, cm, isv } = syndrome;
  const iss = flag(write, 6) + flag(s1ptw, 7) + flag(cm, 8) + flag(isv, 24) + fsc;
  return new FaultRecord(ec * 2 ** 26 + 2 ** 25 + iss, ipa, (ipa / 4096) * 16);
}

/** Handles a fault by hand; what it left of the table and of host memory must be untouched. */
function outcome(lab: Lab, ipa: number, syndrome: Syndrome): [AbortResult, string | null] {
  const guest = new Guest(lab, 0);
  guest.vcpu.fault = recordOf(ipa, syndrome);
  const result = drive(handleGuestAbort(lab.world.vm, guest.vcpu));
  return [result, guest.vcpu.injected];
}

const digestOf = (lab: Lab): string =>
  drive(digestTable(drive(lab.world.vm.pgt()) as Pgtable)).hex();

const EXTERNAL = new Set([0x10, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1c, 0x1d, 0x1e, 0x1f]);
const SUPPORTED = new Set([4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

test('every status code outside the slots: an SError, user space, or -EFAULT', () => {
  const lab = new Lab();
  const [empty, used] = [digestOf(lab), lab.used('tables')];
  for (let fsc = 0; fsc < 64; fsc++) {
    const expected = EXTERNAL.has(fsc)
      ? ['resume', 'systemError']
      : [SUPPORTED.has(fsc) ? 'mmio' : 'fault', null];
    expect([fsc, ...outcome(lab, OUTSIDE, { fsc, isv: true })]).toEqual([fsc, ...expected]);
    expect([fsc, isExternalAbort(recordOf(0, { fsc }))]).toEqual([fsc, EXTERNAL.has(fsc)]);
  }
  // Neither does an access outside every slot change the table (invariant 63).
  expect([digestOf(lab), lab.used('tables'), lab.used('guest')]).toEqual([empty, used, 0]);
});

test.each([DATA_ABORT, INSTRUCTION_ABORT])(
  'class %i: an external abort wins over a slot that exists',
  (ec) => {
    const lab = new Lab();
    expect(outcome(lab, RAM, { ec, fsc: 0x10 })).toEqual(['resume', 'systemError']);
    expect(lab.used('guest')).toBe(0);
  },
);

test.each<[string, Syndrome, AbortResult, string | null]>([
  ['an instruction abort', { ec: INSTRUCTION_ABORT }, 'resume', 'prefetchAbort'],
  ['one on a stage-1 walk', { ec: INSTRUCTION_ABORT, s1ptw: true }, 'resume', 'prefetchAbort'],
  ['a stage-1 walk', { s1ptw: true, isv: true }, 'resume', 'dataAbort'],
  ['a stage-1 walk of a cache operation', { s1ptw: true, cm: true }, 'resume', 'dataAbort'],
  ['a cache operation', { cm: true }, 'resume', null],
  ['a decoded access', { isv: true, write: true }, 'mmio', null],
  ['an access that is not decoded', { write: true }, 'noSyndrome', null],
])('no slot: %s', (_, syndrome, result, injected) => {
  const lab = new Lab();
  const used = lab.used('tables');
  expect(outcome(lab, OUTSIDE, syndrome)).toEqual([result, injected]);
  expect([lab.used('tables'), lab.used('guest')]).toEqual([used, 0]);
});

test('a slot beyond the IPA space is our bug, and said so', () => {
  const lab = new Lab({ ipaBits: 32, slots: [{ base: 2 ** 32, bytes: 4096, logging: false }] });
  expect(() => outcome(lab, 2 ** 32, { isv: true })).toThrow('a slot beyond the IPA space');
});

describe('the kind of a fault', () => {
  const kinds = [DATA_ABORT, INSTRUCTION_ABORT].flatMap((ec) =>
    [false, true].flatMap((s1ptw) => [false, true].map((write) => ({ ec, s1ptw, write }))),
  );
  test.each(kinds)('%o', (syndrome) => {
    const record = recordOf(RAM, syndrome);
    const isInstruction = syndrome.ec === INSTRUCTION_ABORT;
    const expected = {
      exec: isInstruction && !syndrome.s1ptw,
      write: syndrome.s1ptw || (!isInstruction && syndrome.write),
    };
    expect({ exec: isExecFault(record), write: isWriteFault(record) }).toEqual(expected);
    expect(expected.exec && expected.write).toBe(false);
  });
});

describe('an access-flag fault', () => {
  const AF = new Attributes(S2_LO.AF, 0);

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

  test('on an entry that is gone, or a table that is gone, is handled too', () => {
    const lab = new Lab();
    const empty = digestOf(lab);
    expect(outcome(lab, RAM, { fsc: 0x0b })).toEqual(['resume', null]);
    expect(digestOf(lab)).toBe(empty);
    drive(lab.world.vm.freeStage2());
    expect(outcome(lab, RAM, { fsc: 0x0b })).toEqual(['resume', null]);
  });
});
