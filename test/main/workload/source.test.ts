/** Workloads with code of their own: `edits`, and `extends`. Each mistake is one line that names file, line, column and field. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { commands } from '../../../src/main/commands.ts';
import { loadEdits } from '../../../src/main/edits-file.ts';
import type { SourceEdit } from '../../../src/main/edits.ts';
import { main } from '../../../src/main/program.ts';
import type { RunOptions } from '../../../src/main/run-options.ts';
import { UserError } from '../../../src/main/user-error.ts';
import { loadEditedWorkload, loadWorkload } from '../../../src/main/workload/workload.ts';
import type { Scenario } from '../../../src/workers/scenario.ts';
import { fakeIo } from '../fake-io.ts';
import { fixedResult } from '../fixed-result.ts';

const folder = mkdtempSync(join(tmpdir(), 'faultline-source-'));
mkdirSync(join(folder, 'sub'));

function write(name: string, ...lines: readonly string[]): string {
  const file = join(folder, name);
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

const PLAIN = [
  'name: plain',
  'description: one',
  'vcpus: 1',
  'slots: [{ name: ram, base: 0x40000000, size: 4K }]',
  'rounds: [{ name: touch, guest: { pattern: sequential } }]',
];
const FILE = 'src/pgtable/table-removal.ts';
const FIND = 'yield* ops.putPage(context.entry);';
const EDIT = `{ file: ${FILE}, find: "${FIND}", replace: return; }`;
const edit: SourceEdit = { file: FILE, find: FIND, replace: 'return;' };
const later: SourceEdit = { file: FILE, find: 'return;\n  return;', replace: '' };
const plain = write('plain.yaml', ...PLAIN);

function load(file: string): {
  readonly scenario: Scenario;
  readonly edits: readonly SourceEdit[];
} {
  const { scenario, edited } = loadEditedWorkload(file, { explore: false });
  return { scenario, edits: edited === null ? [] : loadEdits([], edited) };
}

function problemOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof UserError) return error.message.replaceAll(`${folder}/`, '');
    throw error;
  }
  return 'no problem';
}

test('a workload may have edits, one or a list', () => {
  const { scenario } = load(plain);
  expect(load(plain).edits).toEqual([]);
  const one = load(write('one.yaml', ...PLAIN, `edits: ${EDIT}`));
  expect(one).toEqual({ scenario, edits: [edit] });
  expect(load(write('list.yaml', ...PLAIN, `edits: [${EDIT}]`))).toEqual(one);
});

test('one extends another, of whatever folder', () => {
  const { scenario } = load(plain);
  const file = write('sub/bad.yaml', 'extends: ../plain.yaml', `edits: [${EDIT}]`);
  expect(load(file)).toEqual({ scenario, edits: [edit] });
});

test('edits of the workload come before those of files, and are looked at together', async () => {
  const more = write('more.json', JSON.stringify(later));
  const file = write('both.yaml', 'extends: plain.yaml', `edits: [${EDIT}]`);
  const calls: RunOptions[] = [];
  const run = async (...argv: readonly string[]): Promise<readonly [number, string]> => {
    const io = fakeIo();
    const status = await main(['run', ...argv], io, {
      ...commands,
      runWorkload: async (_, options) => {
        calls.push(options);
        return fixedResult;
      },
    });
    return [status, io.err()];
  };
  expect(await run(file)).toEqual([0, '']);
  expect(calls.map(({ edits }) => edits)).toEqual([[edit]]);
  const [status, text] = await run(file, '--edit', more);
  expect(status).toBe(2);
  expect(text).toMatch(/more\.json:1:\d+: find: does not occur in /u);
});

test('the workload names its generation, unless the command line does', () => {
  const file = write('kvm.yaml', ...PLAIN, 'kvm: "6.12"');
  expect(load(file).scenario.kvm).toBe('6.12');
  expect(loadWorkload(file, { explore: false, kvm: 'legacy' }).kvm).toBe('legacy');
  expect(load(plain).scenario.kvm).toBe('5.10');
});

describe('one line about its place', () => {
  const keys = 'expected an edit: the keys file, find and replace';
  test.each<[string, readonly string[], string]>([
    [
      'a number for a generation',
      [...PLAIN, 'kvm: 5.10'],
      'w.yaml:6:6: kvm: expected "legacy", "5.10", "5.18", "6.12"',
    ],
    ['no edit', [...PLAIN, 'edits: []'], 'w.yaml:6:8: edits: no edit in the list'],
    ['a text', [...PLAIN, 'edits: [a]'], `w.yaml:6:9: edits[0]: ${keys}`],
    [
      'an unknown key',
      ['extends: plain.yaml', `edits: [{ with: 1 }]`],
      'w.yaml:2:9: edits[0].file: expected a text',
    ],
    [
      'a text that is not there',
      ['extends: plain.yaml', `edits: [{ file: ${FILE}, find: '@', replace: '' }]`],
      `w.yaml:2:53: edits[0].find: does not occur in ${FILE}, and has to exactly once`,
    ],
    ['more than edits', ['extends: plain.yaml', 'vcpus: 2'], 'w.yaml:2:1: vcpus: unknown key'],
    ['no edits', ['extends: plain.yaml'], `w.yaml:1:1: edits: ${keys}`],
    [
      'no such file',
      ['extends: other.yaml', 'edits: []'],
      'w.yaml:1:10: extends: other.yaml: no such file',
    ],
    ['no file name', ['extends: 7', 'edits: []'], 'w.yaml:1:10: extends: expected a text, not 7'],
    [
      'one that extends',
      ['extends: kvm2.yaml', 'edits: []'],
      'w.yaml:1:10: extends: kvm2.yaml has extends of its own',
    ],
    [
      'one that has edits',
      ['extends: one.yaml', 'edits: []'],
      'w.yaml:1:10: extends: one.yaml has edits of its own',
    ],
  ])('%s', (_, lines, message) => {
    write('kvm2.yaml', 'extends: plain.yaml', 'edits: []');
    write('one.yaml', ...PLAIN, `edits: ${EDIT}`);
    const file = write('w.yaml', ...lines);
    expect(problemOf(() => load(file))).toBe(message);
  });

  test('edits where nothing would apply them', () => {
    const file = write('w.yaml', ...PLAIN, `edits: ${EDIT}`);
    const message = 'w.yaml:6:8: edits: only `faultline run` runs edited code';
    expect(problemOf(() => loadWorkload(file, { explore: false }))).toBe(message);
  });
});
