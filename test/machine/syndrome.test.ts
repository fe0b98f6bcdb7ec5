import { describe, expect, test } from 'vitest';
import { ipa, type Level } from '../../src/machine/address.ts';
import { EC, FSC, FaultRecord } from '../../src/machine/syndrome.ts';

const ADDRESS = ipa(0x4020_3008);

describe('the record of an access', () => {
  test.each([
    ['read', FSC.translation, 1, 0x93c0_0005],
    ['write', FSC.translation, 3, 0x93c0_0047],
    ['write', FSC.permission, 2, 0x93c0_004e],
    ['read', FSC.access, 3, 0x93c0_000b],
    ['exec', FSC.permission, 3, 0x8200_000f],
    ['exec', FSC.translation, 0, 0x8200_0004],
  ] as const)('%s with FSC %d at level %d has its ESR', (kind, fsc, level, esr) => {
    expect(FaultRecord.ofAccess(fsc, level, ADDRESS, kind).esr).toBe(esr);
  });

  test.each([FSC.translation, FSC.access, FSC.permission])('type %d reads back', (fsc) => {
    for (const level of [0, 1, 2, 3] as const satisfies Level[]) {
      const fault = FaultRecord.ofAccess(fsc, level, ADDRESS, 'write');
      expect(fault).toMatchObject({ type: fsc, level, statusCode: fsc + level });
    }
  });

  test.each([
    ['read', EC.dataAbortLow, false, true, false],
    ['write', EC.dataAbortLow, false, true, true],
    ['exec', EC.instructionAbortLow, true, false, false],
  ] as const)('%s is told by class, ISV and WnR', (kind, ec, isExec, isValid, isWrite) => {
    const fault = FaultRecord.ofAccess(FSC.translation, 3, ADDRESS, kind);
    expect(fault.exceptionClass).toBe(ec);
    expect(fault.isInstructionAbort()).toBe(isExec);
    expect(fault.hasValidSyndrome()).toBe(isValid);
    expect(fault.writeNotRead()).toBe(isWrite);
    expect([fault.isStage1Walk(), fault.isCacheMaintenance()]).toEqual([false, false]);
  });

  test.each([
    [0x4020_3008, 0x40_2030, 0x4020_3000],
    [0x1_0000_0fff, 0x100_0000, 0x1_0000_0000],
    [0x80_8000_0010, 0x8080_0000, 0x80_8000_0000],
    [0xffff_ffff_fff8, 0xff_ffff_fff0, 0xffff_ffff_f000],
    [0xf_ffff_ffff_fff8, 0xfff_ffff_fff0, 0xf_ffff_ffff_f000],
  ])('%d is in FAR whole, in HPFAR by page', (address, hpfar, page) => {
    const fault = FaultRecord.ofAccess(FSC.translation, 3, ipa(address), 'read');
    expect(fault.far).toBe(address);
    expect(fault.hpfar).toBe(hpfar);
    expect(fault.faultIpa()).toBe(page);
  });
});

describe('a record from outside', () => {
  test('says stage-1 walk and cache maintenance by bits 7 and 8', () => {
    const walk = new FaultRecord(0x9200_0087, 0, 0);
    expect([walk.isStage1Walk(), walk.isCacheMaintenance()]).toEqual([true, false]);
    const maintenance = new FaultRecord(0x9200_0107, 0, 0);
    expect([maintenance.isStage1Walk(), maintenance.isCacheMaintenance()]).toEqual([false, true]);
  });

  test('keeps a status code that is no fault of translation apart', () => {
    const external = new FaultRecord(0x9200_0010, 0, 0);
    expect([external.statusCode, external.type]).toEqual([0x10, 0x10]);
    expect([FSC.translation, FSC.access, FSC.permission]).not.toContain(external.type);
  });

  test.each([
    ['LDRSB W', 0x9320_0007, { accessBytes: 1, register: 0, instructionBytes: 4 }, [true, false]],
    ['LDRH W3', 0x9343_0007, { accessBytes: 2, register: 3, instructionBytes: 4 }, [false, false]],
    ['LDR W31', 0x939f_0007, { accessBytes: 4, register: 31, instructionBytes: 4 }, [false, false]],
    ['STR X16', 0x93d0_8047, { accessBytes: 8, register: 16, instructionBytes: 4 }, [false, true]],
    [
      'a short LDR',
      0x9180_0007,
      { accessBytes: 4, register: 0, instructionBytes: 2 },
      [false, false],
    ],
  ])('says by SAS, SRT, SSE, SF and IL what %s does', (_, esr, numbers, [isSigned, is64Bit]) => {
    const fault = new FaultRecord(esr, 0, 0);
    expect(fault).toMatchObject(numbers);
    expect(fault.hasValidSyndrome()).toBe(true);
    expect([fault.isSignExtended(), fault.is64Bit()]).toEqual([isSigned, is64Bit]);
  });

  test('without a valid syndrome is CM, WnR and FSC', () => {
    expect(new FaultRecord(0x93ff_ffff, 0, 0).issWithoutSyndrome).toBe(0x17f);
    expect(new FaultRecord(0x9200_0087, 0, 0).issWithoutSyndrome).toBe(0x007);
  });

  test('has its address to the byte from HPFAR and the low 12 bits of FAR', () => {
    const fault = new FaultRecord(0x9200_0007, 0xffff_7654_3ab9, 0x40_2030);
    expect([fault.faultIpa(), fault.exactIpa()]).toEqual([0x4020_3000, 0x4020_3ab9]);
  });
});
