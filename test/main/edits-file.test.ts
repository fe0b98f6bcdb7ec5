/** Edit files: each mistake is one line that names file, line, column and field. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadEdits } from '../../src/main/edits-file.ts';
import { commands } from '../../src/main/commands.ts';
import { main } from '../../src/main/program.ts';
import type { RunOptions } from '../../src/main/run-options.ts';
import { UserError } from '../../src/main/user-error.ts';
import { fakeIo } from './fake-io.ts';
import { fixedResult } from './fixed-result.ts';

const folder = mkdtempSync(join(tmpdir(), 'faultline-edits-'));
let files = 0;

function written(text: string): string {
  const file = join(folder, `edits-${++files}.yaml`);
  writeFileSync(file, text);
  return file;
}

/** What is said about files with these texts; each file is called `e.yaml`. */
function problemOf(...texts: readonly string[]): string {
  const names = texts.map(written);
  try {
    loadEdits(names);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.message.replaceAll(`${folder}/`, '').replaceAll(/edits-\d+/g, 'e');
  }
  return 'no problem';
}

const PROT = 'src/pgtable/stage2-prot.ts';
const RETURN = 'return new Attributes(lo, (xn << S2_HI.XN_SHIFT) | (software << S2_HI.SW_SHIFT));';
const NULL = 'return null;\n  }\n\n  /** FEAT';

const noRelaxTlbi = {
  file: 'src/pgtable/stage2-attributes.ts',
  find: "if (outcome === 'ok') yield* pgt.ops.tlbFlushIpa(ipa, update.level);",
  replace: '',
};

/** One edit as JSON: file, find and replace in lines 2, 3 and 4. */
function json(edit: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({ file: PROT, find: RETURN, replace: 'return null;', ...edit }, null, 1);
}

test('a file holds one edit, or a list; several files follow one another', () => {
  const one = { file: PROT, find: RETURN, replace: 'return null;' };
  const two = { file: PROT, find: NULL, replace: 'return NULL;\n  }\n\n  /** FEAT' };
  expect(loadEdits([written(json())])).toEqual([one]);
  const list = written(`- { file: ${PROT}, find: "${RETURN}", replace: return null; }\n`);
  expect(loadEdits([list])).toEqual([one]);
  expect(loadEdits([list, written(JSON.stringify([two]))])).toEqual([one, two]);
});

test("the README's example applies, and is what it says", () => {
  const sections = readFileSync('README.md', 'utf8').split('\n## ');
  const section = sections.find((text) => text.startsWith('Edit\n')) ?? '';
  const example = section.split('\n').filter((line) => line.startsWith('    '));
  const [edit, ...more] = loadEdits([written(example.join('\n'))]);
  expect(more).toEqual([]);
  expect(edit).toEqual(noRelaxTlbi);
});

const keys = 'expected an edit: the keys file, find and replace';
const twice = 'yield* ops.putPage(';

test.each<[string, readonly string[], string]>([
  ['an empty list', ['[]'], 'e.yaml:1:1: no edit in the list'],
  ['a text', ['find'], `e.yaml:1:1: ${keys}`],
  ['a list of texts', ['- a'], `e.yaml:1:3: [0]: ${keys}`],
  ['a missing key', ['file: a\nfind: b'], 'e.yaml:1:1: replace: expected a text'],
  ['a number', [json({ find: 7 })], 'e.yaml:3:10: find: expected a text'],
  ['an empty text to find', [json({ find: '' })], 'e.yaml:3:10: find: empty'],
  ['an unknown key', [json({ with: 'x' })], 'e.yaml:5:2: with: unknown key'],
  [
    'another folder',
    [json({ file: 'lib/a.ts' })],
    'e.yaml:2:10: file: expected a file of src/, as src/pgtable/walker.ts',
  ],
  [
    'a way out of src',
    [json({ file: 'src/../package.json' })],
    'e.yaml:2:10: file: there is no src/../package.json',
  ],
  [
    'a file of types',
    [json({ file: 'src/engine/op.d.ts' })],
    'e.yaml:2:10: file: there is no src/engine/op.d.ts',
  ],
  [
    'the main thread',
    [json({ file: 'src/main/run.ts' })],
    'e.yaml:2:10: file: src/main sets up and verifies, and always runs unedited',
  ],
  [
    'a text that is not there',
    [json({ find: 'colour' })],
    `e.yaml:3:10: find: does not occur in ${PROT}, and has to exactly once`,
  ],
  [
    'a text that is there twice',
    [json({ file: 'src/pgtable/table-removal.ts', find: twice })],
    'e.yaml:3:10: find: occurs 2 times in src/pgtable/table-removal.ts, and has to exactly once',
  ],
  [
    'a text that overlaps itself',
    [json({ replace: 'return [0, 0, 0];' }), json({ find: '0, 0', replace: '' })],
    `e.yaml:3:10: find: occurs 2 times in ${PROT}, and has to exactly once`,
  ],
  [
    'what does not parse',
    [json({ replace: 'return f(;' })],
    `e.yaml:4:13: replace: ${PROT}: Expression expected`,
  ],
  [
    'what is more than types',
    [json({ replace: 'enum A { x }' })],
    `e.yaml:4:13: replace: ${PROT}: TypeScript enum is not supported in strip-only mode`,
  ],
  [
    'the second edit of the second file',
    [
      json(),
      `- ${JSON.stringify({ ...JSON.parse(json({ find: NULL })), replace: '' })}\n- ${json({ find: '@' })}`,
    ],
    `e.yaml:4:10: [1].find: does not occur in ${PROT}, and has to exactly once`,
  ],
])('%s is one line about its place', (_, texts, message) => {
  expect(problemOf(...texts)).toBe(message);
});

test('what leaves the dialect is told with the place in the edited file', () => {
  const find = 'yield* breakEntry(pgt, context, UNKNOWN_LEVEL);';
  const text = json({ file: 'src/pgtable/table-removal.ts', find, replace: `yield ${find}` });
  expect(problemOf(text)).toMatch(
    /^e\.yaml:4:13: replace: src\/pgtable\/table-removal\.ts:\d+:3: bare yield: only yield\* with a call is allowed$/,
  );
});

/** The command line, and the options that a run was given. */
async function run(...argv: readonly string[]): Promise<{
  readonly status: number;
  readonly err: string;
  readonly options: readonly RunOptions[];
}> {
  const options: RunOptions[] = [];
  const io = fakeIo();
  const status = await main(['run', 'permission-storm', ...argv], io, {
    ...commands,
    runWorkload: (_, given) => {
      options.push(given);
      return Promise.resolve(fixedResult);
    },
  });
  return { status, err: io.err(), options };
}

describe('run --edit', () => {
  test('may be repeated, and hands over the edits in order', async () => {
    const list = [written(json()), written(json({ find: NULL, replace: NULL }))];
    const { options } = await run(...list.flatMap((file) => ['--edit', file]));
    expect(options[0]?.edits?.map(({ find }) => find)).toEqual([RETURN, NULL]);
    const plain = await run();
    expect(plain.options[0]?.edits).toBeUndefined();
  });

  test.each([
    ['a missing file', () => join(folder, 'missing.yaml'), 'missing.yaml: no such file'],
    ['a bad edit', () => written(json({ file: 'a' })), ':2:10: file: expected a file of src/'],
  ])('%s is one line and exit status 2, nothing run', async (_, file, line) => {
    const { status, err, options } = await run('--edit', file());
    expect(err).toMatch(/^faultline: [^\n]+\n$/);
    expect(err).toContain(line);
    expect([status, options]).toEqual([2, []]);
  });

  test('a livelock that an edit made is one line and exit status 3', async () => {
    const file = written(json(noRelaxTlbi));
    const io = fakeIo();
    const argv = ['run', 'permission-storm', '--engine', 'explore', '--edit', file];
    expect(await main(argv, io, commands)).toBe(3);
    expect([io.out(), io.err()]).toEqual([
      '',
      expect.stringMatching(/^faultline: seed 1, step \d+: .* faults again and again .*\n$/),
    ]);
  });
});
