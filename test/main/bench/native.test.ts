import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { NativeProgram } from '../../../src/main/bench/native.ts';
import type { PgtableOperation } from '../../../src/workers/bench-pgtable.ts';
import { fakeIo } from '../fake-io.ts';

const hasCompiler = spawnSync('cc', ['--version']).status === 0;
const OPERATIONS: readonly PgtableOperation[] = [
  'map',
  'mapRandom',
  'relax',
  'mkyoung',
  'mapRange',
  'wrprotect',
  'unmap',
  'age',
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultline-native-test-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.unstubAllEnvs();
});

describe.skipIf(!hasCompiler)('with a C compiler', () => {
  test('the source is C11 without a warning', () => {
    const strict = ['-std=c11', '-O2', '-Wall', '-Wextra', '-Wpedantic', '-Werror'];
    const argv = [...strict, '-o', join(folder, 'strict'), 'bench/native/pgtable.c'];
    const { status, stderr } = spawnSync('cc', argv, { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('every operation is timed, again and again, at sizes of whole and of half tables', async () => {
    const io = fakeIo();
    const native = NativeProgram.start(io);
    try {
      for (const pages of [256, 1024, 256]) {
        for (const operation of [...OPERATIONS, ...OPERATIONS]) {
          const ns = await native?.runNs(operation, pages);
          expect([operation, ns !== undefined && ns > 0]).toEqual([operation, true]);
        }
      }
    } finally {
      native?.close();
    }
    expect(io.err()).toBe('');
  });

  test('a request that it does not know ends it, and is said', async () => {
    const native = NativeProgram.start(fakeIo());
    await expect(native?.runNs('mapByHand', 8)).rejects.toThrow(
      'the C program ended at mapByHand 8',
    );
  });
});

describe('without a C compiler', () => {
  test('there is a note and no program', () => {
    vi.stubEnv('CC', join(folder, 'no-cc'));
    const io = fakeIo();
    expect(NativeProgram.start(io)).toBe(null);
    expect(io.err()).toMatch(/^no comparison with C: \S+no-cc: .*ENOENT\n$/);
  });

  test('a compiler that fails is the same', () => {
    vi.stubEnv('CC', 'false');
    const io = fakeIo();
    expect(NativeProgram.start(io)).toBe(null);
    expect(io.err()).toBe('no comparison with C: false: status 1\n');
  });

  test('so is a program that cannot be started', () => {
    const cc = join(folder, 'cc');
    writeFileSync(cc, '#!/bin/sh\ntouch "$4"\n', { mode: 0o755 });
    vi.stubEnv('CC', cc);
    const io = fakeIo();
    expect(NativeProgram.start(io)).toBe(null);
    expect(io.err()).toBe(`no comparison with C: ${cc}: its program does not start\n`);
  });
});
