import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { beforeAll, expect, test } from 'vitest';

/** Fixture by fixture, where lint has to report and what; a marked line is `line:column`. */
const refused: Readonly<Record<string, readonly [rule: string, at: string]>> = {
  'discarded.ts': ['typescript(no-floating-promises)', '5:3'],
  'tested.ts': ['typescript(no-misused-promises)', '4:7'],
  'negated.ts': ['typescript(no-misused-promises)', '4:11'],
  'combined.ts': ['typescript(no-misused-promises)', '5:17'],
  'chosen.ts': ['typescript(no-misused-promises)', '5:10'],
  'arrow.ts': ['typescript(no-misused-promises)', '4:24'],
};
const accepted: readonly string[] = ['accepted.ts', 'lock.ts'];
const folder = 'test/fixtures/dialect';

interface Diagnostic {
  readonly code: string;
  readonly filename: string;
  readonly labels: readonly { readonly span: { readonly line: number; readonly column: number } }[];
}

let found: readonly Diagnostic[];

beforeAll(() => {
  const argv = ['node_modules/oxlint/bin/oxlint', '--type-aware', '--no-ignore', '--format=json'];
  const { stdout } = spawnSync(process.execPath, [...argv, folder], { encoding: 'utf8' });
  found = (JSON.parse(stdout) as { readonly diagnostics: readonly Diagnostic[] }).diagnostics;
});

/** Rule and place of each report about a file; the first label is the offending expression. */
function findings(file: string): readonly (readonly string[])[] {
  const own = found.filter(({ filename }) => basename(filename) === file);
  return own.map(({ code, labels: [label] }) => [
    code,
    `${label?.span.line}:${label?.span.column}`,
  ]);
}

test.each(Object.entries(refused))('%s is reported where yield* is missing', (file, finding) => {
  expect(findings(file)).toEqual([finding]);
});

test.each(accepted)('%s passes', (file) => {
  expect(findings(file)).toEqual([]);
});

test('every fixture is expected to pass or to fail, and none is silenced', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.ts'));
  expect(files.toSorted()).toEqual([...Object.keys(refused), ...accepted].toSorted());
  for (const file of files)
    expect(readFileSync(`${folder}/${file}`, 'utf8')).not.toContain('lint-');
});
