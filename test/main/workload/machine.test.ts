/** The `machine` keys of a workload: machines of every granule, what fits on them, and what cannot be. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ARMV8_0 } from '../../../src/machine/features.ts';
import { UserError } from '../../../src/main/user-error.ts';
import { loadWorkload } from '../../../src/main/workload/workload.ts';
import type { Scenario } from '../../../src/workers/scenario.ts';

const folder = mkdtempSync(join(tmpdir(), 'workload-machine-'));
const path = join(folder, 'w.yaml');

interface Text {
  readonly machine: string;
  readonly vm?: string;
  readonly slot?: string;
  readonly guest?: string;
  readonly explore?: string;
}

function load(text: Text, explore = false): Scenario {
  const { machine, vm = '', slot = 'base: 0x40000000, size: 1M' } = text;
  const { guest = 'pattern: sequential', explore: smaller = '' } = text;
  const yaml = `name: m
description: d
vcpus: 2
machine: { ${machine} }
vm: { ${vm} }
slots: [{ name: a, ${slot} }]
rounds: [{ name: r, guest: { ${guest} } }]
explore: { ${smaller} }
`;
  writeFileSync(path, yaml);
  return loadWorkload(path, { explore });
}

function messageOf(text: Text): string {
  try {
    load(text);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.message.replaceAll(path, 'w.yaml').replaceAll(folder, 'DIR');
  }
  return 'nothing was wrong';
}

test('every key reaches the scenario', () => {
  const machine =
    'granule: 16K, lpa2: true, paBits: 52, fwb: true, xnx: true, tlbiRange: true, dic: true';
  expect(load({ machine, vm: 'ipaBits: 52' })).toMatchObject({
    machine: {
      pageShift: 14,
      lpa2: true,
      features: { ...ARMV8_0, paBits: 52, fwb: true, xnx: true, tlbiRange: true, dic: true },
    },
    ipaBits: 52,
    frames: 64,
  });
});

test('CPUs, VMIDs and speculation reach the machine', () => {
  expect(load({ machine: 'cpus: 2, vmidBits: 4, speculation: true' }).machine).toMatchObject({
    cpus: 2,
    speculates: true,
    features: { ...ARMV8_0, vmidBits: 4 },
  });
  expect(load({ machine: 'xnx: false' }).machine).not.toHaveProperty('cpus');
});

test.each([
  ['4K', 12, 256],
  ['16K', 14, 64],
  ['64K', 16, 16],
])('a frame is a page of the granule: %s', (granule, pageShift, frames) => {
  expect(load({ machine: `granule: ${granule}` })).toMatchObject({
    machine: { pageShift, lpa2: false, features: ARMV8_0 },
    frames,
  });
});

describe('what cannot be', () => {
  test.each<[Text, string]>([
    [
      { machine: 'granule: 64K, lpa2: true, paBits: 52' },
      '4:32: machine.lpa2: the 64K granule has 52-bit addresses without it',
    ],
    [
      { machine: 'paBits: 52', vm: 'ipaBits: 49' },
      '5:16: vm.ipaBits: more than 48 bits with the 4K granule need machine.lpa2',
    ],
    [
      { machine: 'granule: 16K, paBits: 52', vm: 'ipaBits: 52' },
      '5:16: vm.ipaBits: more than 48 bits with the 16K granule need machine.lpa2',
    ],
    [
      { machine: 'lpa2: true', vm: 'ipaBits: 52' },
      '5:16: vm.ipaBits: 52 bits, and physical addresses of the machine have 48 (machine.paBits)',
    ],
    [
      { machine: 'granule: 64K', vm: 'ipaBits: 49' },
      '5:16: vm.ipaBits: 49 bits, and physical addresses of the machine have 48 (machine.paBits)',
    ],
    [
      { machine: 'paBits: 40', vm: 'ipaBits: 42' },
      '5:16: vm.ipaBits: 42 bits, and physical addresses of the machine have 40 (machine.paBits)',
    ],
    [{ machine: 'paBits: 36' }, '4:20: machine.paBits: expected one of 40|42|44|48|52'],
    [
      { machine: 'cpus: 15, vmidBits: 4' },
      '4:32: machine.vmidBits: 15 VMIDs are too few for 15 CPUs: each may have one, and another has to be free',
    ],
    [{ machine: 'cpus: 0' }, '4:18: machine.cpus: too small: expected number to be >=1'],
    [{ machine: 'vmidBits: 5' }, '4:22: machine.vmidBits: expected one of 4|8|16'],
    [{ machine: 'fwb: 1' }, '4:17: machine.fwb: expected true or false, not 1'],
    [{ machine: 'xnx: no way' }, '4:17: machine.xnx: expected true or false, not "no way"'],
    [{ machine: 'mte: true' }, '4:12: machine.mte: unknown key'],
    [
      { machine: 'granule: 16K', slot: 'base: 0x40001000, size: 1M' },
      '6:26: slots[0].base: 0x40001000 is not a multiple of the page size (16K)',
    ],
    [
      { machine: 'granule: 64K', slot: 'base: 0x40000000, size: 32K' },
      '6:44: slots[0].size: 0x8000 is not a multiple of the page size (64K)',
    ],
    [
      { machine: 'granule: 64K, memory: 96K' },
      '4:34: machine.memory: 0x18000 is not a multiple of the page size (64K)',
    ],
    [
      { machine: 'granule: 64K', explore: 'size: 32K' },
      '8:18: explore.size: 0x8000 is not a multiple of the page size (64K)',
    ],
    [
      { machine: 'granule: 64K', guest: 'trace: t, perVcpu: 0x1000' },
      '7:49: rounds[0].guest.perVcpu: 0x1000 is not a multiple of the page size (64K)',
    ],
    [
      { machine: 'granule: 64K, memory: 61G', vm: 'contents: line' },
      '4:34: machine.memory: more RAM than fits below the table pages: at most 60 GiB',
    ],
  ])('%j', (text, message) => {
    expect(messageOf(text)).toBe(`w.yaml:${message}`);
  });
});

test.each([
  ['64K', 48, 48],
  ['64K', 52, 52],
  ['4K', 48, 48],
])('but %s with %d bits is fine', (granule, ipaBits, paBits) => {
  const machine = `granule: ${granule}, paBits: ${paBits}`;
  expect(load({ machine, vm: `ipaBits: ${ipaBits}` }).ipaBits).toBe(ipaBits);
});

describe('a trace', () => {
  const guest = 'trace: t, perVcpu: 1M';
  const slot = 'base: 0x40000000, size: 64K, perVcpu: 1M';

  test('keeps its pages of 4 KiB; memory is counted in pages of the granule', () => {
    // Three trace pages, two pages of 16 KiB; the same for the other vCPU.
    writeFileSync(join(folder, 't'), ' L 40001000,8\n L 40003000,8\n S 40004000,8\n');
    const scenario = load({ machine: 'granule: 16K, memory: 64K', guest, slot });
    expect(scenario.rounds[0]?.guest).toEqual({
      kind: 'trace',
      pages: Uint32Array.of(0x40001, 0x40003, 0x40004),
      kinds: Uint8Array.of(0, 0, 1),
      vcpuPages: 256,
    });
    expect(messageOf({ machine: 'granule: 16K, memory: 48K', guest, slot })).toBe(
      'w.yaml:4:34: machine.memory: 3 pages of memory for 4 pages that the guest programs touch',
    );
  });

  test('that leaves the slots is told by its own page', () => {
    writeFileSync(join(folder, 't'), ' L 40000000,8\n L 40011000,8\n');
    expect(messageOf({ machine: 'granule: 64K', guest, slot })).toBe(
      'DIR/t:2: page 0x40011000 of vCPU 0 is in no slot of w.yaml',
    );
  });
});
