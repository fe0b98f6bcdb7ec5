/**
 * Good and bad come in pairs that differ by one edit of the code: workloads/bad/VERDICT.yaml is found under its verdict and no other, its twin
 * in workloads/good passes. There is a pair for each verdict of the checkers of events.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { TABLE_VERDICTS } from '../../src/check/finding.ts';
import { loadEdits } from '../../src/main/edits-file.ts';
import { LOCK_VERDICTS } from '../../src/locking/lock-checker.ts';
import { loadEditedWorkload } from '../../src/main/workload/workload.ts';
import { runSmall, verdictsOf } from './small.ts';

const namesIn = (folder: string): string[] =>
  readdirSync(`workloads/${folder}`).map((file) => file.replace(/\.yaml$/u, ''));

async function found(file: string): Promise<ReadonlySet<string>> {
  const { scenario, edited } = loadEditedWorkload(file, { explore: true });
  const edits = edited === null ? [] : loadEdits([], edited);
  return new Set(verdictsOf(await runSmall(scenario, { seeds: 3, edits })));
}

const verdicts = [...TABLE_VERDICTS, ...LOCK_VERDICTS];

test('there is a pair for each verdict, and the same workload in both', () => {
  expect(namesIn('good').toSorted()).toEqual(verdicts.toSorted());
  expect(namesIn('bad').toSorted()).toEqual(verdicts.toSorted());
  for (const name of verdicts) {
    const bad = readFileSync(`workloads/bad/${name}.yaml`, 'utf8');
    expect(bad).toMatch(new RegExp(`^extends: \\.\\./good/${name}\\.yaml\nedits:\n`, 'u'));
  }
});

describe.each(verdicts)('%s', (name) => {
  test('is found', async () => {
    expect(await found(`workloads/bad/${name}.yaml`)).toEqual(new Set([name]));
  });

  test('is not found without the edit, nor is anything else', async () => {
    expect(await found(`workloads/good/${name}.yaml`)).toEqual(new Set());
  });
});
