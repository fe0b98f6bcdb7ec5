/** `vm.stage1`: the slot for the guest's tables, and what is refused. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UserError } from '../../../src/main/user-error.ts';
import { loadWorkload } from '../../../src/main/workload/workload.ts';
import type { Scenario } from '../../../src/workers/scenario.ts';

const folder = mkdtempSync(join(tmpdir(), 'workload-stage1-'));
const path = join(folder, 'w.yaml');

interface Text {
  readonly vm: string;
  readonly machine?: string;
  readonly slot?: string;
  readonly more?: string;
  readonly host?: string;
}

function load({ vm, machine = '', slot = 'size: 1M', more = '', host = '' }: Text): Scenario {
  const yaml = `name: s
description: d
vcpus: 2
machine: { ${machine} }
vm: { ${vm} }
slots: [{ name: a, base: 0x40000000, ${slot} }]
rounds: [{ name: r, guest: { pattern: sequential } }, { name: h, hosts: [${host}], guest: { pattern: sequential } }, { name: d, hosts: [{ action: write-protect }] }]
${more}
`;
  writeFileSync(path, yaml);
  return loadWorkload(path, { explore: false });
}

function messageOf(text: Text): string {
  try {
    load(text);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.message.replace(path, 'w.yaml');
  }
  return 'nothing was wrong';
}

test('without it there is no slot more', () => {
  const { slots, stage1, frames } = load({ vm: '' });
  expect([slots.length, stage1, frames]).toEqual([1, undefined, 256]);
});

test('is off but for its presence: 48 bits, access flags set beforehand', () => {
  const { slots, stage1, frames, machine } = load({ vm: 'stage1: {}' });
  expect(stage1).toEqual({ vaBits: 48, accessFlag: 'preset', dirtyState: false });
  // A root, and two tables at each of three levels at most.
  expect(slots[1]).toEqual({ base: 0x5000_0000, bytes: 7 * 4096, logging: false });
  expect([frames, machine.features.hardwareAccessFlag]).toEqual([256 + 7, false]);
});

test('of 39 bits needs a level less; hardware that updates is a feature of the machine', () => {
  const vm = 'stage1: { vaBits: 39, accessFlag: hardware, dirtyState: true }';
  const { slots, stage1, machine } = load({ vm });
  expect(stage1).toEqual({ vaBits: 39, accessFlag: 'hardware', dirtyState: true });
  expect([slots[1]?.bytes, machine.features.hardwareAccessFlag]).toEqual([5 * 4096, true]);
});

test('takes whole pages of the host', () => {
  const { slots } = load({ vm: 'stage1: {}', machine: 'granule: 64K' });
  expect(slots[1]?.bytes).toBe(0x1_0000);
});

test.each<[string, Text, string]>([
  [
    'contents of a line',
    { vm: 'contents: line, stage1: {}' },
    'vm.contents: the tables of vm.stage1 need whole pages: use page',
  ],
  [
    'dirty state without access flag',
    { vm: 'stage1: { dirtyState: true }' },
    'vm.stage1.dirtyState: needs accessFlag: hardware',
  ],
  [
    'failures',
    { vm: 'stage1: {}', more: 'failures: [{ site: copy, first: 1 }]' },
    'failures: would strike the guest of vm.stage1 while it boots',
  ],
  [
    'no room above the slots',
    { vm: 'ipaBits: 32, stage1: {}', slot: 'size: 3071M', machine: 'memory: 16M' },
    'vm.ipaBits: no room for the tables of vm.stage1 above the slots',
  ],
  [
    'a slot beyond what its descriptors can say',
    {
      vm: 'ipaBits: 52, stage1: {}',
      machine: 'lpa2: true, paBits: 52, memory: 2M',
      slot: 'size: 1M, perVcpu: 0x1000000000000',
    },
    'vm.ipaBits: no room for the tables of vm.stage1 above the slots',
  ],
  ['another size', { vm: 'stage1: { vaBits: 42 }' }, 'vm.stage1.vaBits'],
])('%s is refused', (_what, text, message) => {
  expect(messageOf(text)).toContain(message);
});

test('a host that discards all memory is refused', () => {
  const yaml = `name: s
description: d
vcpus: 1
vm: { stage1: {} }
slots: [{ name: a, base: 0x40000000, size: 1M }]
rounds: [{ name: d, hosts: [{ action: discard }] }]
`;
  writeFileSync(path, yaml);
  expect(() => loadWorkload(path, { explore: false })).toThrow(
    'vm.stage1: a host that discards all memory takes the tables, too',
  );
});
