/** Edits where nothing can be written beside the sources: a copy of the package whose `node_modules` is a file. */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultline-edits-'));
  for (const name of ['src', 'bin', 'workloads', 'package.json']) {
    cpSync(name, join(folder, 'package', name), { recursive: true });
  }
  writeFileSync(join(folder, 'package', 'node_modules'), '');
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  mkdirSync(join(folder, 'tmp'));
  const file = 'src/kvm/dirty-log.ts';
  const find = "yield* applyRange(vm, slot, 'wrprotect');";
  writeFileSync(join(folder, 'edit.json'), JSON.stringify({ file, find, replace: '' }));
  const storm = readFileSync('workloads/permission-storm.yaml', 'utf8');
  writeFileSync(join(folder, 'storm.yaml'), storm.replaceAll('16M', '256K'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each(['threads', 'explore'])(
  'an edited run on engine %s keeps its texts in a temporary folder while it lasts',
  (engine) => {
    const argv = ['run', join(folder, 'storm.yaml'), '-v', '1', '--engine', engine];
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(folder, 'package/bin/faultline.js'), ...argv, '--edit', join(folder, 'edit.json')],
      {
        encoding: 'utf8',
        env: { ...process.env, TMPDIR: join(folder, 'tmp'), NODE_V8_COVERAGE: '' },
      },
    );
    // W stands everywhere: vCPU 0 writes every page without a permission fault, and none is dirty.
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
    expect(stdout).toMatch(/^permission +0 /m);
    expect(readdirSync(join(folder, 'tmp'))).toEqual([]);
  },
);
