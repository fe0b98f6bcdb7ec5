import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { PLAIN_4K } from '../../../src/machine/shape.ts';
import { shippedWorkloads } from '../../../src/main/input-file.ts';
import { UserError } from '../../../src/main/user-error.ts';
import { loadWorkload, type Overrides } from '../../../src/main/workload/workload.ts';
import { parseSize } from '../../../src/main/workload/schema.ts';
import type { Scenario } from '../../../src/workers/scenario.ts';

const folder = mkdtempSync(join(tmpdir(), 'workload-'));
const path = join(folder, 'w.yaml');
const plain: Overrides = { explore: false };

const base = `name: sample
description: A sample.
vcpus: 4
machine: { granule: 4K, memory: 128K }
vm: { ipaBits: 40, contents: page }
slots:
  - { name: ram, base: 0x40000000, size: 64K, logging: true }
  - { name: own, base: 0x80000000, size: 8K, perVcpu: 0x10000 }
setup:
  - { name: populate, guest: { pattern: sequential, region: partitioned, writes: 1 } }
rounds:
  - { name: protect, hosts: [{ action: write-protect }] }
  - { name: storm, guest: { pattern: zipf, touches: 100, exponent: 0.5 }, hosts: [{ action: write-protect, times: until-done }] }
repeat: 8
explore: { size: 16K, repeat: 2, vcpus: 2, touches: 10 }
ending:
  - { name: last, hosts: [{ action: write-protect }, { action: write-protect }] }
`;

function load(text: string | Uint8Array, overrides: Overrides = plain): Scenario {
  writeFileSync(path, text);
  return loadWorkload(path, overrides);
}

/** The base workload with one text, which must be there, replaced. */
function changed(find: string, replacement: string): string {
  expect(base).toContain(find);
  return base.replace(find, () => replacement);
}

function secondSlotAt(address: string): string {
  return changed('base: 0x80000000, size: 8K, perVcpu: 0x10000', `base: ${address}, size: 4K`);
}

/** A workload of two vCPUs with this guest program and a slot of two pages for each. */
function traced(guest: string): string {
  return `name: t
description: d
vcpus: 2
slots:
  - { name: a, base: 0x1000, size: 8K, perVcpu: 0x10000 }
rounds:
  - { name: r, guest: { ${guest} } }
explore: { touches: 1 }
`;
}

function tracedWithMemory(size: string): string {
  return traced('trace: good, perVcpu: 0x10000').replace(
    'slots:',
    `machine: { memory: ${size} }\nslots:`,
  );
}

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.message.replaceAll(path, 'w.yaml').replaceAll(folder, 'DIR');
  }
  return 'nothing was wrong';
}

test('a workload file becomes a scenario', () => {
  const ram = { base: 0x4000_0000, bytes: 65_536, logging: true };
  const own = { base: 0x8000_0000, bytes: 8192, logging: false };
  const protect = { action: 'write-protect', times: 1 };
  expect(load(base)).toEqual({
    name: 'sample',
    description: 'A sample.',
    kvm: '5.10',
    twin: false,
    vcpus: 4,
    vms: 1,
    machine: { ...PLAIN_4K, speculates: false },
    ipaBits: 40,
    frames: 32,
    contents: 'page',
    dirtyLog: 'harvest',
    slots: [
      ram,
      own,
      { ...own, base: 0x8001_0000 },
      { ...own, base: 0x8002_0000 },
      { ...own, base: 0x8003_0000 },
    ],
    setup: [
      {
        name: 'populate',
        guest: {
          kind: 'pattern',
          pattern: 'sequential',
          slot: 0,
          region: 'partitioned',
          touches: null,
          writes: 1,
          stride: 1,
          exponent: 0.99,
        },
        hosts: [],
      },
    ],
    rounds: [
      { name: 'protect', guest: null, hosts: [{ action: 'write-protect', times: 1 }] },
      {
        name: 'storm',
        guest: {
          kind: 'pattern',
          pattern: 'zipf',
          slot: 0,
          region: 'shared',
          touches: 100,
          writes: 0,
          stride: 1,
          exponent: 0.5,
        },
        hosts: [{ action: 'write-protect', times: null }],
      },
    ],
    repeat: 8,
    failures: [],
    ending: [{ name: 'last', guest: null, hosts: [protect, protect] }],
  });
});

describe('what may be left out', () => {
  const short = `name: s
description: d
vcpus: 1
slots: [{ name: a, base: 0, size: 8192 }]
rounds: [{ name: r, guest: { pattern: random } }]
`;

  test('memory is what the slots hold, the rest is as documented', () => {
    expect(load(short)).toMatchObject({
      machine: PLAIN_4K,
      ipaBits: 40,
      frames: 2,
      contents: 'page',
      setup: [],
      repeat: 1,
      ending: [],
    });
  });

  test('explore without an explore: key changes nothing', () => {
    expect(load(short, { explore: true })).toEqual(load(short));
  });
});

test('programs on dirty logs name a slot, and slots may be harvested side by side', () => {
  const hosts =
    '[{ action: log-start, slot: own }, { action: harvest }, { action: harvest, slot: own }]';
  const text = changed('[{ action: write-protect }]', hosts).replace(
    'contents: page',
    'dirtyLog: clear-all-set',
  );
  const scenario = load(text, { explore: true });
  expect(scenario.dirtyLog).toBe('clearAllSet');
  expect(scenario.rounds[0]?.hosts).toEqual([
    { action: 'log-start', slot: 1, times: 1, delay: 1 },
    { action: 'harvest', slot: 0, times: 1, delay: 1 },
    { action: 'harvest', slot: 1, times: 1, delay: 1 },
  ]);
  // The zero page needs a frame.
  expect(scenario.frames).toBe(2 * (4 + 2 * 2));
});

test('explore makes slots, memory, rounds, touches and vCPUs smaller', () => {
  const scenario = load(base, { explore: true });
  expect(scenario).toMatchObject({ vcpus: 2, repeat: 2, frames: (16 + 2 * 8) / 4 });
  expect(scenario.slots.map((slot) => slot.bytes)).toEqual([16_384, 8192, 8192]);
  expect(scenario.rounds[1]?.guest).toMatchObject({ touches: 10 });
  // Two pages for each vCPU are fewer than ten touches: nothing to cut.
  expect(scenario.setup[0]?.guest).toMatchObject({ touches: null });
});

test('the vCPU count of the command line wins over both of the file', () => {
  expect(load(base, { explore: false, vcpus: 3 }).vcpus).toBe(3);
  expect(load(base, { explore: true, vcpus: 3 }).vcpus).toBe(3);
});

describe('places and fields of what is wrong', () => {
  test.each([
    ['vcpus: 4', 'vcpus: 0', '3:8: vcpus: too small: expected number to be >=1'],
    ['vcpus: 4', 'vcpus: 513', '3:8: vcpus: too big: expected number to be <=512'],
    ['vcpus: 4', 'vcpus: four', '3:8: vcpus: expected a number, not "four"'],
    ['vcpus: 4', 'vcpus: 1.5', '3:8: vcpus: expected a whole number, not 1.5'],
    ['vcpus: 4', 'vcpu: 4', '1:1: vcpus: missing: expected a number'],
    ['vcpus: 4', 'vcpus: 4\ncolour: red', '4:1: colour: unknown key'],
    ['vcpus: 4', 'vcpus: 4\n__proto__: red', '4:1: __proto__: unknown key'],
    ['vcpus: 4', 'vcpus: 4\nvcpus: 4', '4:1: YAML: Map keys must be unique'],
    ['name: sample', 'name: [', '2:1: YAML: '],
    ['name: sample', 'name: !nonsense a', '1:7: YAML: Unresolved tag: !nonsense'],
    [
      'name: sample',
      'name: "a b"',
      '1:7: name: expected a short name of letters, digits, "-", "_" and "."',
    ],
    ['name: sample', 'name: *none', '1:7: YAML: Unresolved alias'],
    ['granule: 4K', 'granule: 8K', '4:21: machine.granule: expected one of "4K"|"16K"|"64K"'],
    [
      'memory: 128K',
      'memory: 12Q',
      '4:33: machine.memory: not a size: expected bytes as 4096, 0x1000, 64K, 16M or 1G',
    ],
    [
      'memory: 128K',
      'memory: 6000',
      '4:33: machine.memory: 0x1770 is not a multiple of the page size (4K)',
    ],
    [
      'memory: 128K',
      'memory: 60K',
      '4:33: machine.memory: 15 pages of memory for 16 pages that the guest programs touch',
    ],
    [
      'memory: 128K',
      'memory: 4G',
      '4:33: machine.memory: 1048576 frames of 4096 bytes and 24 pages in slots do not fit into the 4 GiB that a simulated machine may have',
    ],
    [
      'contents: page',
      'dirtyLog: never',
      '5:30: vm.dirtyLog: expected one of "harvest"|"clear"|"clear-all-set"',
    ],
    [
      'hosts: [{ action: write-protect }]',
      'hosts: [{ action: harvest, pages: 3 }]',
      '12:49: rounds[0].hosts[0].pages: means nothing with harvest: it is done to the log of a whole slot',
    ],
    [
      'hosts: [{ action: write-protect }]',
      'hosts: [{ action: log-start, slot: none }]',
      '12:57: rounds[0].hosts[0].slot: there is no slot none (there are: ram, own)',
    ],
    [
      'hosts: [{ action: write-protect }]',
      'hosts: [{ action: harvest }, { action: log-stop }, { action: harvest, slot: ram }]',
      '12:73: rounds[0].hosts[2]: a slot is harvested by one program at a time',
    ],
    ['ipaBits: 40', 'ipaBits: 31', '5:16: vm.ipaBits: too small: expected number to be >=32'],
    ['ipaBits: 40', 'ipaBits: 53', '5:16: vm.ipaBits: too big: expected number to be <=52'],
    ['contents: page', 'contents: half', '5:30: vm.contents: expected one of "page"|"line"'],
    [
      'base: 0x40000000',
      'base: 0x40000001',
      '7:24: slots[0].base: 0x40000001 is not a multiple of the page size (4K)',
    ],
    ['base: 0x40000000', 'base: -4096', '7:24: slots[0].base: not a size'],
    ['base: 0x40000000, ', '', '7:5: slots[0].base: missing: expected bytes'],
    ['size: 64K', 'size: 0', '7:42: slots[0].size: a slot has at least one page'],
    [
      'size: 64K',
      'size: 1T',
      '7:24: slots[0].base: the slot ends at 0x10040000000: it has to end below 0x10000000000 (vm.ipaBits 40)',
    ],
    [
      'perVcpu: 0x10000',
      'perVcpu: 0x1000',
      '8:55: slots[1].perVcpu: its copies overlap at 0x80001000',
    ],
    ['perVcpu: 0x10000', 'perVcpu: 0', '8:55: slots[1].perVcpu: its copies overlap at 0x80000000'],
    [
      'perVcpu: 0x10000',
      'perVcpu: 5',
      '8:55: slots[1].perVcpu: 0x5 is not a multiple of the page size (4K)',
    ],
    [
      'base: 0x80000000',
      'base: 0x4000f000',
      '8:24: slots[1].base: overlaps the slot ram at 0x4000f000',
    ],
    [
      'base: 0x80000000',
      'base: 0x3ffef000',
      '8:24: slots[1].base: overlaps the slot ram at 0x40000000',
    ],
    ['name: own', 'name: ram', '8:13: slots[1].name: there are two slots named ram'],
    ['pattern: sequential', 'pattern: wild', '10:41: setup[0].guest.pattern: expected one of '],
    [
      'pattern: sequential',
      'slot: none, pattern: random',
      '10:38: setup[0].guest.slot: there is no slot none (there are: ram, own)',
    ],
    [
      'pattern: sequential',
      'slot: own, pattern: random',
      '10:38: setup[0].guest.slot: the slot own has a copy per vCPU: a pattern needs a slot without perVcpu',
    ],
    [
      'pattern: sequential',
      'pattern: strided',
      '10:30: setup[0].guest: the pattern strided needs a stride, in pages',
    ],
    [
      'pattern: sequential',
      'stride: 2, pattern: random',
      '10:32: setup[0].guest.stride: means nothing with the pattern random',
    ],
    [
      'pattern: sequential',
      'trace: t, pattern: random',
      '10:30: setup[0].guest: a guest program has either a pattern or a trace',
    ],
    [
      'pattern: sequential, region: partitioned, writes: 1',
      'writes: 1',
      '10:30: setup[0].guest: a guest program has either a pattern or a trace',
    ],
    ['pattern: sequential', 'trace: t', '10:42: setup[0].guest.region: means nothing with a trace'],
    [
      'writes: 1',
      'writes: 1.5',
      '10:82: setup[0].guest.writes: too big: expected number to be <=1',
    ],
    ['writes: 1', 'writes: .nan', '10:82: setup[0].guest.writes: expected a number, not NaN'],
    [
      'hosts: [{ action: write-protect }] }',
      'hosts: [{ action: stop }] }',
      '12:40: rounds[0].hosts[0].action: expected one of ',
    ],
    [
      ', hosts: [{ action: write-protect }] }',
      ' }',
      '12:5: rounds[0]: a phase needs a guest program or a host program',
    ],
    [
      'action: write-protect }',
      'action: write-protect, times: until-done }',
      '12:62: rounds[0].hosts[0].times: until-done needs a guest program in the same phase',
    ],
    [
      'action: write-protect }',
      'action: write-protect, times: 0 }',
      '12:62: rounds[0].hosts[0].times: too small: expected number to be >=1',
    ],
    [
      'action: write-protect, times: until-done',
      'action: discard',
      '13:93: rounds[1].hosts[0].action: discard is not possible while a guest program runs: give it a phase of its own',
    ],
    [
      'touches: 100',
      'touches: 0',
      '13:53: rounds[1].guest.touches: too small: expected number to be >=1',
    ],
    [
      'exponent: 0.5',
      'exponent: 0',
      '13:68: rounds[1].guest.exponent: too small: expected number to be >=0.01',
    ],
    [
      'repeat: 8',
      'failures: [{ site: disk, first: 1 }]',
      '14:20: failures[0].site: expected one of ',
    ],
    [
      'repeat: 8',
      'failures: [{ site: copy, first: 0 }]',
      '14:33: failures[0].first: too small: expected number to be >=1',
    ],
    [
      'repeat: 8',
      'failures: [{ site: copy, first: 1, every: -1 }]',
      '14:43: failures[0].every: too small: expected number to be >=1',
    ],
    [
      'repeat: 8',
      'failures: [{ site: copy, first: 1 }, { site: copy, first: 2 }]',
      '14:46: failures[1].site: a second plan for copy',
    ],
    ['repeat: 8', 'repeat: 0', '14:9: repeat: too small: expected number to be >=1'],
    [
      'explore: { size: 16K',
      'explore: { size: 1000',
      '15:18: explore.size: 0x3e8 is not a multiple of the page size (4K)',
    ],
    [
      'explore: { size: 16K',
      'explore: { size: 0',
      '15:18: explore.size: a slot has at least one page',
    ],
    ['explore: { size: 16K', 'explore: { depth: 3', '15:12: explore.depth: unknown key'],
  ])('%s -> %s', (find, replacement, message) => {
    expect(messageOf(() => load(changed(find, replacement)))).toContain(`w.yaml:${message}`);
  });

  test('what depends on the number of vCPUs is judged with that of the command line', () => {
    expect(messageOf(() => load(base, { explore: false, vcpus: 17 }))).toBe(
      'w.yaml:10:61: setup[0].guest.region: a slot of 16 pages cannot be shared out among 17 vCPUs',
    );
    const line = changed('contents: page', 'contents: line');
    expect(load(line, { explore: false, vcpus: 8 }).contents).toBe('line');
    expect(messageOf(() => load(line, { explore: false, vcpus: 9 }))).toBe(
      'w.yaml:5:30: vm.contents: a line holds one word for each of at most 8 vCPUs, and there are 9: use page',
    );
    expect(messageOf(() => load(base, { explore: false, vcpus: 512 }))).toBe(
      'w.yaml:8:5: slots[1]: more than 512 slots, copies included',
    );
  });

  test('the last page of the IPA space is not usable, the one before is', () => {
    expect(load(secondSlotAt('0xffffffe000')).slots[1]?.base).toBe(0xff_ffff_e000);
    expect(messageOf(() => load(secondSlotAt('0xfffffff000')))).toContain(
      'slots[1].base: the slot ends at 0x10000000000',
    );
  });

  test('copies of a slot may touch', () => {
    const { slots } = load(changed('perVcpu: 0x10000', 'perVcpu: 8K'));
    expect(slots.slice(1).map((slot) => slot.base)).toEqual([
      0x8000_0000, 0x8000_2000, 0x8000_4000, 0x8000_6000,
    ]);
  });

  test('a workload without phases has nothing to do', () => {
    const text = 'name: a\ndescription: b\nvcpus: 1\nslots: [{ name: s, base: 0, size: 4K }]\n';
    expect(messageOf(() => load(text))).toBe(
      'w.yaml:1:1: nothing to do: there are no phases in setup, rounds or ending',
    );
  });
});

describe('files that are no workloads', () => {
  test.each([
    ['', 'w.yaml: the file is empty'],
    ['# only a comment\n', 'w.yaml: the file is empty: no workload in it'],
    ['just words', 'w.yaml:1:1: not a workload: expected keys such as name, vcpus, slots'],
    ['- a\n- b\n', 'w.yaml:1:1: not a workload: expected keys such as name, vcpus, slots'],
    [
      'a: 1\n---\nb: 2\n',
      'w.yaml:2:1: YAML: Source contains multiple documents; please use YAML.parseAllDocuments()',
    ],
    ['name: a\0b\n', 'w.yaml: a binary file, not a workload'],
    [
      '#'.repeat(1024 * 1024 + 1),
      'w.yaml: 1048577 bytes is more than a workload file may have (1 MiB)',
    ],
    ['['.repeat(20_000), 'YAML: nested too deeply'],
    ['name: &a [*a]\n', 'w.yaml:1:10: name: expected a text, not a list'],
  ])('%#', (text, message) => {
    expect(messageOf(() => load(text))).toContain(message);
  });

  test('a key that is a mapping is an unknown key, and nobody else complains', () => {
    const warn = vi.spyOn(process, 'emitWarning');
    expect(messageOf(() => load(`? { a: b }\n: c\n${base}`))).toBe(
      'w.yaml:1:1: { a: b }: unknown key',
    );
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  test('text that is not UTF-8', () => {
    expect(messageOf(() => load(Uint8Array.from([0x61, 0x3a, 0xff])))).toBe(
      'w.yaml: not UTF-8 text',
    );
  });

  test('aliases that multiply are refused, not followed', () => {
    const bomb = [
      'a0: &a0 [x, x]',
      ...Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`),
    ].join('\n');
    expect(messageOf(() => load(bomb))).toContain('w.yaml:1:9: YAML: Excessive alias count');
  });

  test('a folder, a device, a pipe, a file that is not there, a file without permission', () => {
    const inFolder = join(folder, 'folder');
    mkdirSync(inFolder);
    expect(messageOf(() => loadWorkload(inFolder, plain))).toBe('DIR/folder: is a directory');
    expect(messageOf(() => loadWorkload('/dev/null', plain))).toBe('/dev/null: not a regular file');
    const pipe = join(folder, 'pipe');
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
    expect(messageOf(() => loadWorkload(pipe, plain))).toBe('DIR/pipe: not a regular file');
    expect(messageOf(() => loadWorkload(join(folder, 'no.yaml'), plain))).toContain(
      'DIR/no.yaml: no such file',
    );
    expect(messageOf(() => loadWorkload('', plain))).toBe('WORKLOAD: an empty name');
    expect(messageOf(() => loadWorkload('a\0b', plain))).toBe(
      'WORKLOAD: a name with a NUL character',
    );
    expect(messageOf(() => loadWorkload('a\nb', plain))).toContain('a\\nb: no such file');
  });

  // The superuser may read everything: there is nothing to refuse.
  test.skipIf(process.getuid?.() === 0)('a file that may not be read', () => {
    writeFileSync(path, base);
    chmodSync(path, 0o000);
    expect(messageOf(() => loadWorkload(path, plain))).toBe(
      'w.yaml: not readable: permission denied',
    );
    chmodSync(path, 0o600);
  });
});

describe('traces', () => {
  test('are found beside the workload, and each vCPU replays them in its own part', () => {
    writeFileSync(join(folder, 'good'), 'I  00001ffe,8\n S 00001000,8\n');
    const scenario = load(traced('trace: good, perVcpu: 0x10000'));
    expect(scenario.rounds[0]?.guest).toEqual({
      kind: 'trace',
      pages: Uint32Array.of(1, 2, 1),
      kinds: Uint8Array.of(2, 2, 1),
      vcpuPages: 16,
    });
    const cut = load(traced('trace: good, perVcpu: 0x10000'), { explore: true });
    expect(cut.rounds[0]?.guest).toMatchObject({ pages: Uint32Array.of(1) });
  });

  test('have to stay in the slots, on every vCPU', () => {
    writeFileSync(join(folder, 'low'), '==1==\nI  00001000,8\n L 00000ff8,8\n');
    expect(messageOf(() => load(traced('trace: low, perVcpu: 0x10000')))).toBe(
      'DIR/low:3: page 0x0 of vCPU 0 is in no slot of w.yaml',
    );
    writeFileSync(join(folder, 'good'), 'I  00001ffe,8\n');
    expect(messageOf(() => load(traced('trace: good, perVcpu: 0x20000')))).toBe(
      'DIR/good:1: page 0x21000 of vCPU 1 is in no slot of w.yaml',
    );
  });

  test('do not reach the page behind a slot', () => {
    writeFileSync(join(folder, 'behind'), ' L 00002fff,1\n L 00003000,1\n');
    expect(messageOf(() => load(traced('trace: behind, perVcpu: 0x10000')))).toBe(
      'DIR/behind:2: page 0x3000 of vCPU 0 is in no slot of w.yaml',
    );
  });

  test('and patterns on the same slot need its memory once', () => {
    writeFileSync(join(folder, 'good'), 'I  00001000,8\n');
    const text = `name: t
description: d
vcpus: 1
machine: { memory: 8K }
slots: [{ name: a, base: 0x1000, size: 8K }, { name: b, base: 0x8000, size: 8K }]
rounds:
  - { name: r, guest: { trace: good } }
  - { name: p, guest: { pattern: random } }
`;
    expect(load(text).frames).toBe(2);
  });

  test('that cannot be read are named', () => {
    expect(messageOf(() => load(traced('trace: none')))).toBe('DIR/none: no such file');
    expect(messageOf(() => load(traced('trace: .')))).toBe('DIR: is a directory');
    expect(messageOf(() => load(traced('trace: "a\\0b"')))).toBe(
      'w.yaml:7:32: rounds[0].guest.trace: a name with a NUL character',
    );
    expect(messageOf(() => load(traced('trace: good, perVcpu: 3')))).toContain(
      'w.yaml:7:47: rounds[0].guest.perVcpu: 0x3 is not a multiple',
    );
  });

  test('need memory for the pages they touch, not for the whole slots', () => {
    writeFileSync(join(folder, 'good'), 'I  00001000,8\n');
    expect(load(tracedWithMemory('8K')).frames).toBe(2);
    expect(messageOf(() => load(tracedWithMemory('4K')))).toBe(
      'w.yaml:4:20: machine.memory: 1 pages of memory for 2 pages that the guest programs touch',
    );
  });
});

function harvests(times: number): string {
  return `hosts: [${Array.from({ length: times }, () => '{ action: harvest }').join(', ')}] }`;
}

test('programs are dealt out among VMs: each VM has its slot harvested once', () => {
  const two = changed('slots:', 'vms: 2\nslots:');
  const loading = (times: number) => (): unknown =>
    load(two.replace('hosts: [{ action: write-protect }] }', harvests(times)));
  expect(messageOf(loading(2))).toBe('nothing was wrong');
  expect(messageOf(loading(3))).toContain('hosts[2]: a slot is harvested by one program at a time');
});

describe('backings and actions on pages', () => {
  const own = '{ name: own, base: 0x80000000, size: 8K, perVcpu: 0x10000 }';
  const protect = 'hosts: [{ action: write-protect }] }';

  test('are part of the scenario', () => {
    const slots = `{ name: own, base: 0x80000000, size: 4M, backing: hugetlb, hugePage: 2M }
  - { name: thp, base: 0x90000000, size: 4M, backing: transparent-huge }
  - { name: sh, base: 0xa0000000, size: 8K, backing: shared, offset: 4K }`;
    const text = changed(own, slots)
      .replace(protect, 'hosts: [{ action: migrate, slot: thp, pages: 3 }, { action: age }] }')
      .replace('memory: 128K', 'memory: 16M');
    const scenario = load(text);
    expect(scenario.slots.map(({ backing }) => backing)).toEqual([
      undefined,
      { kind: 'hugetlb', pageBytes: 0x20_0000, offset: 0 },
      { kind: 'transparentHuge', pageBytes: 4096, offset: 0 },
      { kind: 'shared', pageBytes: 4096, offset: 4096 },
    ]);
    expect(scenario.rounds[0]?.hosts).toEqual([
      { action: 'migrate', times: 1, delay: 1, slot: 2, pages: 3 },
      { action: 'age', times: 1, delay: 1, slot: 0, pages: null },
    ]);
    // Under explore a slot of huge pages keeps one at least.
    expect(load(text, { explore: true }).slots.map(({ bytes }) => bytes)).toEqual([
      16_384, 0x20_0000, 16_384, 8192,
    ]);
  });

  test.each([
    ['backing: hugetlb', '8:5: slots[1]: hugetlb needs a hugePage of this granule: 64K, 2M, 1G'],
    [
      'backing: hugetlb, hugePage: 32M',
      'hugePage: hugetlb needs a hugePage of this granule: 64K, 2M, 1G',
    ],
    ['backing: hugetlb, hugePage: 64K', 'slots[1].size: not a multiple of the huge page'],
    ['hugePage: 64K', 'slots[1].hugePage: means nothing with the backing anonymous'],
    ['offset: 4K', 'slots[1].offset: means nothing with the backing anonymous'],
    ['backing: shared, offset: 1', 'slots[1].offset: not a multiple of the page size'],
    ['backing: shared, perVcpu: 64K', 'slots[1]: shares pages of the object with the slot own'],
  ])('%s is one line about its place', (keys, message) => {
    const text = changed(own, `{ name: own, base: 0x80000000, size: 8K, ${keys} }`);
    expect(messageOf(() => load(text))).toContain(message);
  });

  test.each([
    ['shared', '8K'],
    ['hugetlb, hugePage: 64K', '64K'],
  ])('what is in %s stays: it is not discarded', (backing, size) => {
    const slot = `{ name: own, base: 0x80000000, size: ${size}, backing: ${backing} }`;
    const text = changed(own, slot).replace(protect, 'hosts: [{ action: discard }] }');
    expect(messageOf(() => load(text))).toMatch(
      /:12:\d+: rounds\[0\]\.hosts\[0\]\.action: the host cannot discard the slot at 0x80000000: /,
    );
  });

  test.each([
    [
      '{ action: discard, slot: ram }',
      'slot: means nothing with discard: it is done to every slot',
    ],
    ['{ action: age, slot: rom }', 'rounds[0].hosts[0].slot: there is no slot rom'],
    ['{ action: write-protect, pages: 3 }', 'pages: means nothing with write-protect'],
    ['{ action: write-protect, delay: 3 }', 'hosts[0].delay: means nothing with write-protect'],
    ['{ action: age, delay: -1 }', 'hosts[0].delay: expected a whole number from 0 to 1000000'],
    ['{ action: age, delay: 0.5 }', 'hosts[0].delay: expected a whole number, not 0.5'],
    ['{ action: age, base: 4K }', 'hosts[0].base: means nothing with age'],
    ['{ action: reset, slot: ram }', 'hosts[0].slot: means nothing with reset'],
    ['{ action: add-slot }', 'rounds[0].hosts[0]: add-slot needs a base'],
    ['{ action: add-slot, base: 4K, pages: 1 }', 'hosts[0].pages: means nothing with add-slot'],
    ['{ action: replace-slot, base: 4K }', 'hosts[0].base: means nothing with replace-slot'],
    ['{ action: move-slot, base: 0x801 }', 'base: 0x801 is not a multiple of the page size'],
    ['{ action: move-slot, base: 0x3fff1000 }', 'base: overlaps the slot at 0x40000000'],
    ['{ action: move-slot, base: 0x4000f000 }', 'base: overlaps the slot at 0x40000000'],
    [
      '{ action: add-slot, base: 0xffffff0000 }',
      'base: ends at 0x10000000000: it has to end below 0x10000000000 (vm.ipaBits 40)',
    ],
    [
      '{ action: add-slot, base: 64K }, { action: move-slot, base: 0x1f000 }',
      'rounds[0].hosts[1].base: overlaps what hosts[0] of the phase uses',
    ],
    ['{ action: ioremap, base: 64K }', 'hosts[0].slot: ioremap maps registers'],
    ['{ action: teardown }', 'hosts[0].action: teardown is the end: once, in the last phase of'],
  ])('%s is one line about its place', (program, message) => {
    const text = changed(protect, `hosts: [${program}] }`);
    expect(messageOf(() => load(text))).toContain(message);
  });
});

describe('slots of devices and their programs', () => {
  const own = '{ name: own, base: 0x80000000, size: 8K, perVcpu: 0x10000 }';
  const device = (keys = ''): string =>
    changed(own, `{ name: dev, base: 0x80000000, size: 8K, backing: device${keys} }`);
  const protect = 'hosts: [{ action: write-protect }] }';
  const last = 'hosts: [{ action: write-protect }, { action: write-protect }] }';

  test('are part of the scenario', () => {
    const programs = `{ action: add-slot, slot: dev, base: 0x1000 }, { action: replace-slot, delay: 3 },
      { action: move-slot, base: 0x100000, times: 4 }, { action: ioremap, slot: dev },
      { action: ioremap, slot: dev, base: 0x8000 }, { action: set-way }, { action: reset }`;
    const scenario = load(
      device(', readonly: true')
        .replace(protect, `hosts: [${programs}] }`)
        .replace(last, 'hosts: [{ action: teardown }] }'),
    );
    expect(scenario.slots[1]).toEqual({
      base: 0x8000_0000,
      bytes: 8192,
      logging: false,
      isReadonly: true,
      backing: { kind: 'pfnmap', pageBytes: 4096, offset: 0 },
    });
    const once = { times: 1, delay: 0 };
    expect(scenario.rounds[0]?.hosts).toEqual([
      { action: 'add-slot', ...once, slot: 1, base: 0x1000 },
      { action: 'replace-slot', times: 1, delay: 3, slot: 0, base: 0x4000_0000 },
      { action: 'move-slot', times: 4, delay: 1, slot: 0, base: 0x10_0000 },
      { action: 'ioremap', ...once, slot: 1, base: 0x8000_0000 },
      { action: 'ioremap', ...once, slot: 1, base: 0x8000 },
      { action: 'set-way', ...once },
      { action: 'reset', times: 1, delay: 1 },
    ]);
    expect(scenario.ending[0]?.hosts).toEqual([{ action: 'teardown', times: 1 }]);
    // Registers take no RAM.
    expect(load(device().replace('memory: 128K', 'memory: 64K')).frames).toBe(16);
  });

  test.each([
    ['{ action: migrate, slot: dev }', 'hosts[0].action: device memory has no pages to migrate'],
    ['{ action: discard }', 'hosts[0].action: the host cannot discard the slot at 0x80000000'],
    [
      '{ action: move-slot, slot: dev, base: 4K }, { action: ioremap, slot: dev }',
      'hosts[1].action: ioremap in a slot that another program of the phase takes away',
    ],
  ])('%s is one line about its place', (program, message) => {
    const text = device().replace(protect, `hosts: [${program}] }`);
    expect(messageOf(() => load(text))).toContain(message);
  });

  test.each([
    [', logging: true', 'slots[1].logging: device memory has no dirty log'],
    [', offset: 4K', 'slots[1].offset: means nothing with the backing device'],
  ])('a device slot with %s is one line about its place', (keys, message) => {
    expect(messageOf(() => load(device(keys)))).toContain(message);
  });

  test('a trace may read a device and not execute it', () => {
    const text = traced('trace: io, perVcpu: 0x10000').replace(
      'perVcpu: 0x10000 }',
      'perVcpu: 0x10000, backing: device }',
    );
    writeFileSync(join(folder, 'io'), ' L 1000,4\n S 2000,4\n');
    expect(load(text).slots).toHaveLength(2);
    writeFileSync(join(folder, 'io'), ' L 1000,4\nI  2000,4\n');
    expect(messageOf(() => load(text))).toContain('io:2: page 0x2000 of vCPU 0 is executed, and');
  });

  test.each(['times: until-done', 'times: 2'])('teardown with %s is refused', (times) => {
    const text = changed(last, `hosts: [{ action: teardown, ${times} }] }`);
    expect(messageOf(() => load(text))).toContain('ending[0].hosts[0].action: teardown is the end');
  });
});

describe('the workloads that come with the package', () => {
  test('are these', () => {
    expect(shippedWorkloads()).toEqual([
      'access-flag',
      'demand-paging',
      'failures',
      'guest-tables',
      'memslots',
      'migration',
      'permission-storm',
      'real-program',
      'shared-cpus',
      'short-storm',
      'snapshot-resume',
      'storm',
      'teardown',
      'userfault',
      'write-protect',
    ]);
  });

  test.each(shippedWorkloads())(
    '%s is valid at 1 to 8 vCPUs, on both engines, and under its own name',
    (name) => {
      for (const explore of [false, true]) {
        for (const vcpus of [undefined, 1, 2, 4, 8]) {
          const scenario = loadWorkload(name, { explore, vcpus });
          expect(scenario.name).toBe(name);
          expect(scenario).toEqual(loadWorkload(`workloads/${name}.yaml`, { explore, vcpus }));
        }
      }
    },
  );

  test('a name that is misspelt gets the list', () => {
    expect(messageOf(() => loadWorkload('permission-strom', plain))).toBe(
      `permission-strom: no such file, and no workload of that name comes with faultline (${shippedWorkloads().join(', ')})`,
    );
  });
});

test.each([
  [4096, 4096],
  [0, 0],
  ['4096', 4096],
  ['0x1000', 4096],
  ['64K', 65_536],
  ['64 KiB', 65_536],
  ['16MB', 2 ** 24],
  ['2G', 2 ** 31],
  ['1T', 2 ** 40],
  ['0x10K', 16_384],
  [-1, null],
  [1.5, null],
  [2 ** 53, null],
  ['9999999T', null],
  ['1.5M', null],
  ['-1', null],
  ['M', null],
  ['', null],
  ['64k', null],
  [null, null],
  [true, null],
  [Number.NaN, null],
])('parseSize(%j) is %j', (value, bytes) => {
  expect(parseSize(value)).toBe(bytes);
});
