import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { withOutputs } from '../scripts/readme-output.ts';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

test('the output blocks of README.md are what the commands print', async () => {
  expect(await withOutputs(readme)).toBe(readme);
});

test('a stale block is noticed', async () => {
  const stale = readme.replace('permission-storm: ', 'some-storm: ');
  expect(stale).not.toBe(readme);
  expect(await withOutputs(stale)).toBe(readme);
});
