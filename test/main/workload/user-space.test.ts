/** Keys about userfaults and dirty rings: agents for queues, and one clear line about what cannot be. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadWorkload } from '../../../src/main/workload/workload.ts';
import type { Scenario } from '../../../src/workers/scenario.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultline-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function load(slot: string, hosts: string): Scenario {
  const file = join(folder, 'w.yaml');
  const lines = [
    'name: w',
    'description: a test',
    'vcpus: 3',
    'slots:',
    `  - { name: ram, base: 0x40000000, size: 64K, ${slot} }`,
    '  - { name: other, base: 0x50000000, size: 64K }',
    'rounds:',
    '  - name: touch',
    '    guest: { pattern: sequential, slot: ram }',
    `    hosts: [${hosts}]`,
  ];
  writeFileSync(file, lines.join('\n'));
  return loadWorkload(file, { explore: false });
}

const problem = (slot: string, hosts: string): string => {
  try {
    load(slot, hosts);
  } catch (error) {
    return (error as Error).message.replace(/^.*w\.yaml:(\d+):\d+/u, '$1');
  }
  return 'loaded';
};

const MISSING = 'userfault: { mode: missing }';

test('a handler for one queue, or one for each vCPU; each entry is another reader', () => {
  const program = { action: 'userfault', slot: 0, queue: 0, delaySteps: 7 };
  const one = '{ action: userfault, delay: 7 }';
  expect(load(MISSING, one).rounds[0]?.hosts).toEqual([program]);
  expect(load(MISSING, `${one}, ${one}`).rounds[0]?.hosts).toEqual([program, program]);
  const each = load('userfault: { mode: missing, queue: per-vcpu }', one).rounds[0]?.hosts;
  expect(each).toEqual([0, 1, 2].map((queue) => ({ ...program, queue })));
});

test('each copy of a slot has handlers of its own', () => {
  const file = join(folder, 'copies.yaml');
  const lines = [
    'name: copies',
    'description: a test',
    'vcpus: 2',
    'slots:',
    '  - name: ram',
    '    base: 0x40000000',
    '    size: 64K',
    '    perVcpu: 1M',
    '    userfault: { mode: missing }',
    'rounds:',
    '  - name: serve',
    '    hosts: [{ action: userfault }]',
  ];
  writeFileSync(file, lines.join('\n'));
  const { rounds } = loadWorkload(file, { explore: false });
  expect(rounds[0]?.hosts).toEqual([
    { action: 'userfault', slot: 0, queue: 0, delaySteps: 0 },
    { action: 'userfault', slot: 1, queue: 0, delaySteps: 0 },
  ]);
});

const SERVED = '{ action: userfault }';
test.each([
  [
    'backing: transparent-huge, userfault: { mode: missing }',
    SERVED,
    '5: slots[0].userfault: means nothing with the backing transparent-huge',
  ],
  [
    'userfault: { mode: minor }',
    SERVED,
    '5: slots[0].userfault.mode: minor faults are those of the backing shared',
  ],
  [
    'snapshot: true',
    '',
    '5: slots[0].snapshot: a snapshot is in memory of the backing shared, or is brought by userfault',
  ],
  [
    MISSING,
    '',
    '8: rounds[0]: its guest, or a harvest, touches a slot with userfault: the phase needs a host with the action userfault',
  ],
  [
    MISSING,
    '{ action: userfault, slot: other }',
    '10: rounds[0].hosts[0].slot: the slot is not registered: it has no userfault',
  ],
  [
    'userfault: { mode: missing, queue: exit }',
    SERVED,
    '10: rounds[0].hosts[0]: its faults go to the vCPUs: userfault has queue exit',
  ],
  [
    MISSING,
    '{ action: write-protect, delay: 1 }',
    '10: rounds[0].hosts[0].delay: means nothing with write-protect: it has one step',
  ],
  [MISSING, '{ action: userfault, delay: -1 }', 'delay: '],
  [
    'userfault: { mode: missing, queue: exit }',
    '{ action: harvest }',
    'rounds[0]: a harvest cannot resolve faults of a slot whose queue is exit',
  ],
  [
    `${MISSING}, snapshot: true, logging: true`,
    SERVED,
    'slots[0].logging: a log from the start is one of zeros, and there is a snapshot: use log-start',
  ],
])('%s with %s', (slot, hosts, message) => {
  expect(problem(slot, hosts)).toContain(message);
});

test('guests that exit need no handler', () => {
  expect(problem('userfault: { mode: missing, queue: exit }', '')).toBe('loaded');
});

test.each([
  [12, 'logging: true', 'vm.dirtyRing: 12 entries: not a power of two from 2 on'],
  [64, 'logging: false', 'vm.dirtyRing: no slot logs from the start'],
  [
    64,
    'logging: true',
    'vm.dirtyRing: the profile 5.10 has no dirty ring: arm64 has it from 6.2 on',
  ],
])('a dirty ring of %i entries, %s', (size, logging, message) => {
  const file = join(folder, 'ring.yaml');
  const lines = [
    'name: ring',
    'description: a test',
    'vcpus: 1',
    `vm: { dirtyRing: ${size} }`,
    `slots: [{ name: ram, base: 0x40000000, size: 64K, ${logging} }]`,
    'rounds: [{ name: touch, guest: { pattern: sequential } }]',
  ];
  writeFileSync(file, lines.join('\n'));
  expect(() => loadWorkload(file, { explore: false })).toThrow(message);
});
