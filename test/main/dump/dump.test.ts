import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { commands } from '../../../src/main/commands.ts';
import { main } from '../../../src/main/program.ts';
import type { DumpDocument, DumpedEntry } from '../../../src/main/result.ts';
import type { Commands } from '../../../src/main/run-options.ts';
import { fakeIo } from '../fake-io.ts';

const folder = mkdtempSync(join(tmpdir(), 'dump-'));

function fileOf(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

const HEAD = `
description: Four pages, written by one vCPU.
vcpus: 1
slots:
  - { name: ram, base: 0x40000000, size: 16K }
setup:
  - { name: populate, guest: { pattern: sequential, writes: 1 } }
`;
/** Afterwards the first page is writable again. */
const relaxed = fileOf(
  'relaxed.yaml',
  `name: relaxed${HEAD}
rounds:
  - { name: protect, hosts: [{ action: write-protect }] }
  - { name: write, guest: { pattern: sequential, writes: 1, touches: 1 } }
`,
);
const discarded = fileOf(
  'discarded.yaml',
  `name: discarded${HEAD}
rounds:
  - { name: discard, hosts: [{ action: discard }] }
`,
);

/** A host that has nothing to take. */
const untouched = fileOf(
  'untouched.yaml',
  `name: untouched${HEAD.replace(/setup:[^]*/u, '')}setup:
  - { name: discard, hosts: [{ action: discard }] }
`,
);

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function run(argv: readonly string[], work: Commands = commands): Promise<Outcome> {
  const io = fakeIo();
  const status = await main(argv, io, work);
  return { status, out: io.out(), err: io.err() };
}

/** What a command that succeeds prints. */
async function printed(...argv: readonly string[]): Promise<string> {
  const { status, out, err } = await run(['dump', ...argv]);
  expect({ status, err }).toEqual({ status: 0, err: '' });
  return out;
}

const explored = (...argv: readonly string[]): Promise<string> =>
  printed(...argv, '--engine', 'explore');

const TEXT = `relaxed: 1 vCPU, engine explore, kvm 5.10, seed 1
stage 2: 4K granule, 40 bits of IPA, 2 root pages at level 1
VTCR_EL2  0x0000000080053558 T0SZ=24 SL0=1 IRGN0=WBWA ORGN0=WBWA SH0=inner TG0=4K PS=48-bit VS=8-bit HA=0 DS=0
VTTBR_EL2 0x0001001000000000 VMID=1 BADDR=0x1000000000 CnP=0

1     0x0000000040000000-0x0000000080000000 table        0x0000001000029003 to 0x1000029000
  2   0x0000000040000000-0x0000000040200000 table        0x0000001000028003 to 0x1000028000
    3 0x0000000040000000-0x0000000040001000 1 page       0x00400000800007ff to 0x80000000-0x80001000 MemAttr=Normal-WB S2AP=RW SH=inner AF=1 XN=yes
    3 0x0000000040001000-0x0000000040004000 3 page       0x004000008000177f to 0x80001000-0x80004000 MemAttr=Normal-WB S2AP=RO SH=inner AF=1 XN=yes
`;

const KERNEL = `---[ Guest IPA ]---
0x0000000000000000-0x0000000040000000           1G 1
0x0000000040000000-0x0000000040001000           4K 3   R W X AF    
0x0000000040001000-0x0000000040004000          12K 3   R   X AF    
0x0000000040004000-0x0000000040200000        2032K 3
0x0000000040200000-0x0000000080000000        1022M 2
`;

describe('a run', () => {
  test('as text', async () => {
    expect(await explored(relaxed)).toBe(TEXT);
  });

  test('as the kernel prints it', async () => {
    expect(await explored(relaxed, '--format', 'kernel')).toBe(KERNEL);
  });

  test('whose table is gone shows the stale entry that pointed to it', async () => {
    const text = await explored(discarded);
    expect(text.split('\n').slice(5)).toEqual([
      '1     0x0000000040000000-0x0000000080000000 1 stale      0x0000001000029002',
      '',
    ]);
    expect(await explored(discarded, '--format', 'kernel')).toBe('---[ Guest IPA ]---\n');
  });

  test('under explore takes the smaller scenario', async () => {
    expect((await explored('permission-storm')).split('\n')[0]).toBe(
      'permission-storm: 2 vCPUs, engine explore, kvm 5.10, seed 1',
    );
  });

  test('on threads, with flags', async () => {
    const text = await printed(relaxed, '-v', '2', '--seed', '7', '--kvm', '5.10');
    expect(text.split('\n')[0]).toBe('relaxed: 2 vCPUs, engine threads, kvm 5.10, seed 7');
    expect(text).toMatch(/^ {4}3 0x0000000040000000-/mu);
  });

  test('of a workload that touches nothing has no entries', async () => {
    const [, , , , ...entries] = (await explored(untouched)).split('\n');
    expect(entries).toEqual(['', 'no entries', '']);
  });

  test('that violates something is dumped all the same, with exit status 1', async () => {
    const { status, out, err } = await run(['dump', relaxed, '--engine', 'explore'], {
      ...commands,
      runWorkload: async (...given) => ({
        ...(await commands.runWorkload(...given)),
        ok: false,
        violations: [{ verdict: 'lost-write', message: 'of vCPU 0', schedule: '' }],
      }),
    });
    expect({ status, out }).toEqual({ status: 1, out: TEXT });
    expect(err).toBe('faultline: lost-write: of vCPU 0\n');
  });
});

/** The document of a run, as a file and parsed. */
async function documentOf(workload: string): Promise<{ file: string; document: DumpDocument }> {
  const text = await explored(workload, '--format', 'json');
  return { file: fileOf('dump.json', text), document: JSON.parse(text) as DumpDocument };
}

describe('the document', () => {
  test('has the geometry, the registers and every entry, unmerged', async () => {
    const { document } = await documentOf(relaxed);
    const { entries, ...head } = document;
    expect(head).toEqual({
      schema: 'faultline.dump/1',
      workload: 'relaxed',
      engine: 'explore',
      kvm: '5.10',
      vcpus: 1,
      seed: 1,
      geometry: { granule: '4K', ipaBits: 40, startLevel: 1, rootPages: 2 },
      vtcr: '0x0000000080053558',
      vttbr: '0x0001001000000000',
      invalid: [],
    });
    expect(entries.map(({ level, ipa, kind }) => [level, ipa, kind])).toEqual([
      [1, 0x4000_0000, 'table'],
      [2, 0x4000_0000, 'table'],
      [3, 0x4000_0000, 'page'],
      [3, 0x4000_1000, 'page'],
      [3, 0x4000_2000, 'page'],
      [3, 0x4000_3000, 'page'],
    ]);
    expect(entries[3]).toEqual({
      ipa: 0x4000_1000,
      level: 3,
      kind: 'page',
      descriptor: '0x004000008000177f',
      oa: 0x8000_1000,
      attributes: { MemAttr: 'Normal-WB', S2AP: 'RO', SH: 'inner', AF: 1, XN: 'yes' },
    });
  });

  test('keeps stale entries apart', async () => {
    const { entries, invalid } = (await documentOf(discarded)).document;
    expect(entries).toEqual([]);
    expect(invalid).toEqual([
      {
        ipa: 0x4000_0000,
        level: 1,
        descriptor: '0x0000001000029002',
        attributes: { is: 'stale' },
      },
    ]);
  });

  test('goes to a file beside the text, or alone to standard output', async () => {
    const file = join(folder, 'beside.json');
    expect(await explored(relaxed, '--json', file)).toBe(TEXT);
    const { document } = await documentOf(relaxed);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(document);
    expect(JSON.parse(await explored(relaxed, '--json', '-'))).toEqual(document);
  });

  test.each([
    ['leaves', relaxed],
    ['a stale entry', discarded],
  ])('says all that the other forms say: %s', async (_what, workload) => {
    const { file, document } = await documentOf(workload);
    expect(await printed('--from', file)).toBe(await explored(workload));
    for (const format of ['text', 'kernel']) {
      expect(await printed('--from', file, '--format', format)).toBe(
        await explored(workload, '--format', format),
      );
    }
    expect(JSON.parse(await printed('--from', file, '--format', 'json'))).toEqual(document);
    expect(JSON.parse(await printed('--from', file, '--json', '-'))).toEqual(document);
  });

  test('may have keys of a later version, and its entries in any order', async () => {
    const { document } = await documentOf(relaxed);
    const entries = document.entries.toReversed().map((entry) => ({ ...entry, later: 1 }));
    const file = fileOf('later.json', JSON.stringify({ later: {}, ...document, entries }));
    expect(await printed('--from', file)).toBe(TEXT);
  });
});

test('a document of another granule', async () => {
  const { document } = await documentOf(relaxed);
  const file = fileOf('64K.json', JSON.stringify({ ...document, ...of64K('64K') }));
  expect((await printed('--from', file)).split('\n').slice(1, 3)).toEqual([
    'stage 2: 64K granule, 36 bits of IPA, 1 root page at level 2',
    expect.stringContaining('T0SZ=28 SL0=1 IRGN0=NC ORGN0=NC SH0=none TG0=64K PS=32-bit'),
  ]);
});

describe('usage', () => {
  test.each([
    [['dump'], 'WORKLOAD: missing, and there is no --from'],
    [['dump', relaxed, '--from', 'x'], '--from: not with a workload'],
    [['dump', '--from', 'x', '--seed', '1'], '--seed: not with --from, which runs nothing'],
    [['dump', '--from', 'x', '-v', '1'], '--vcpus: not with --from, which runs nothing'],
    [['dump', '--from', 'x', '--kvm', '5.10'], '--kvm: not with --from, which runs nothing'],
    [
      ['dump', '--from', 'x', '--engine', 'explore'],
      '--engine: not with --from, which runs nothing',
    ],
    [
      ['dump', relaxed, '--format', 'xml'],
      '--format: "xml" is not known (known: text, kernel, json)',
    ],
    [['dump', relaxed, '--seconds', '1'], "unknown option '--seconds'"],
    [
      ['dump', relaxed, '--json', join(folder, 'no', 'x')],
      `--json: ${join(folder, 'no', 'x')}: not writable, or its folder does not exist`,
    ],
    [['dump', '--from', join(folder, 'none')], `${join(folder, 'none')}: no such file`],
  ] as const)('%j', async (argv, message) => {
    const { status, out, err } = await run(argv);
    expect({ status, out }).toEqual({ status: 2, out: '' });
    expect(err).toMatch(/^faultline: [^\n]*\n$/u);
    expect(err).toContain(message);
  });
});

type Change = (document: Mutable) => unknown;
interface Mutable {
  [key: string]: unknown;
  geometry: Record<string, unknown>;
  entries: (Record<string, unknown> & { attributes: Record<string, unknown> })[];
  invalid: unknown[];
}

const row = (document: Mutable, index: number): Mutable['entries'][number] =>
  document.entries[index] as Mutable['entries'][number];
const stale = { ipa: 0x4000_4000, level: 3, descriptor: '0x2', attributes: { is: 'stale' } };

/** An empty table of 64K pages, which `granule` says or not. */
const of64K = (granule: string): Partial<Mutable> => ({
  vtcr: '0x8000405c',
  geometry: { granule, ipaBits: 36, startLevel: 2, rootPages: 1 },
  entries: [],
});

const wrong: readonly (readonly [Change, string])[] = [
  [(d) => (d['schema'] = 'faultline.run/1'), 'schema: expected "faultline.dump/1"'],
  [(d) => delete d['vtcr'], 'vtcr: expected string, received undefined'],
  [(d) => (d['vtcr'] = '80053558'), 'vtcr: expected 0x and at most 16 hexadecimal digits'],
  [(d) => (d['vtcr'] = '0x8000c000'), 'vtcr: VTCR_EL2.TG0 is reserved'],
  [(d) => (d['vtcr'] = '0x80053559'), 'geometry: not what vtcr 0x80053559 configures'],
  [(d) => (d.geometry['granule'] = '16K'), 'geometry: not what vtcr'],
  [(d) => (d.geometry['startLevel'] = 2), 'geometry: not what vtcr'],
  [(d) => (d.geometry['rootPages'] = 1), 'geometry: not what vtcr'],
  [(d) => Object.assign(d, of64K('16K')), 'geometry: not what vtcr'],
  [(d) => (d.geometry['ipaBits'] = 53), 'geometry.ipaBits: too big'],
  [(d) => (d.entries = [1 as never]), 'entries[0]: expected object, received number'],
  [(d) => (row(d, 3)['level'] = 4), 'entries[3].level: '],
  [(d) => (row(d, 3)['ipa'] = 0.5), 'entries[3].ipa: expected int, received number'],
  [
    (d) => (row(d, 3)['kind'] = 'block'),
    'entries[3].kind: block, but the descriptor is of kind page',
  ],
  [
    (d) => (row(d, 3)['descriptor'] = '0x0'),
    'entries[3].kind: page, but the descriptor is of kind invalid',
  ],
  [(d) => (row(d, 3)['oa'] = 0), 'entries[3].oa: 0, but the descriptor says 2147487744'],
  [
    (d) => (row(d, 3).attributes['S2AP'] = 'RW'),
    'entries[3].attributes.S2AP: RW, but the descriptor says RO',
  ],
  [
    (d) => delete row(d, 3).attributes['AF'],
    'entries[3].attributes.AF: missing, but the descriptor says 1',
  ],
  [
    (d) => (row(d, 3).attributes['nG'] = 1),
    'entries[3].attributes.nG: 1, but the descriptor says nothing of it',
  ],
  [
    (d) => (row(d, 3)['ipa'] = 0x4000_1800),
    'entries[3].ipa: not a multiple of what an entry of level 3 covers',
  ],
  [(d) => (row(d, 3)['ipa'] = 0x4000_2000), 'entries[4].ipa: inside another entry'],
  [(d) => (row(d, 5)['ipa'] = 2 ** 40), 'entries[5].ipa: beyond the input address space'],
  [(d) => d.entries.splice(1, 1), 'entries[1].ipa: an entry of level 3 in a table of level 2'],
  [
    (d) => d.invalid.push({ ...stale, descriptor: '0x80000003' }),
    'invalid[0].descriptor: a page, not an invalid entry',
  ],
  [(d) => d.invalid.push({ ...stale, descriptor: '0x0' }), 'invalid[0].descriptor: an empty entry'],
  [
    (d) => d.invalid.push({ ...stale, descriptor: '0x400' }),
    'invalid[0].attributes.is: stale, but the descriptor says locked',
  ],
  [
    (d) => d.invalid.push(stale, { ...stale, ipa: 0x4000_0000 }),
    'invalid[1].ipa: inside another entry',
  ],
];

describe('a document is refused', () => {
  test.each(wrong.map(([change, message]) => [message, change] as const))(
    '%s',
    async (message, change) => {
      const document = JSON.parse(await explored(relaxed, '--format', 'json')) as Mutable;
      change(document);
      const file = fileOf('wrong.json', JSON.stringify(document));
      const { status, out, err } = await run(['dump', '--from', file]);
      expect({ status, out }).toEqual({ status: 2, out: '' });
      expect(err.slice(0, `faultline: ${file}: ${message}`.length)).toBe(
        `faultline: ${file}: ${message}`,
      );
      expect(err).toMatch(/^[^\n]*\n$/u);
    },
  );

  test.each([
    ['', 'the file is empty'],
    ['{"schema": "faultline.dump/1"\n\u0007', 'not JSON: '],
    ['null', 'expected object, received null'],
    ['\ufeff1', 'expected object, received number'],
  ])('%j', async (text, message) => {
    const file = fileOf('no.json', text);
    const { status, err } = await run(['dump', '--from', file]);
    expect(status).toBe(2);
    expect(err.slice(0, `faultline: ${file}: ${message}`.length)).toBe(
      `faultline: ${file}: ${message}`,
    );
    expect(err).toMatch(/^\P{Cc}*\n$/u);
  });

  test('without its own text being trusted to stay on a line', async () => {
    const { document } = await documentOf(relaxed);
    const file = fileOf('lines.json', JSON.stringify({ ...document, workload: 'a\nb\u001b[1m' }));
    expect((await printed('--from', file)).split('\n')[0]).toBe(
      String.raw`a\nb\u001b[1m: 1 vCPU, engine explore, kvm 5.10, seed 1`,
    );
  });
});

test('addresses of entries are exact numbers', async () => {
  const { document } = await documentOf(relaxed);
  const numbers = document.entries.flatMap(({ ipa, oa }: DumpedEntry) => [ipa, oa]);
  expect(numbers.every(Number.isSafeInteger)).toBe(true);
});
