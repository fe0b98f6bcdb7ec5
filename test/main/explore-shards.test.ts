import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { commands } from '../../src/main/commands.ts';
import { main } from '../../src/main/program.ts';
import type { ExploreResult } from '../../src/main/result.ts';
import { fakeIo } from './fake-io.ts';

async function faultline(
  ...argv: readonly string[]
): Promise<{ readonly status: number; readonly out: string; readonly err: string }> {
  const io = fakeIo();
  const status = await main(argv, io, commands);
  return { status, out: io.out(), err: io.err() };
}

async function result(...argv: readonly string[]): Promise<ExploreResult> {
  const { out, err } = await faultline(...argv, '--json', '-');
  expect(err).toBe('');
  return JSON.parse(out) as ExploreResult;
}

/** All that must not depend on who explored. */
function seen(of: ExploreResult): object {
  return { ...of, seconds: 0, environment: null };
}

const newFolder = (): string => mkdtempSync(join(tmpdir(), 'shards-'));

/** Explores every shard; their checkpoints. */
async function shards(of: number, ...argv: readonly string[]): Promise<string[]> {
  const folder = newFolder();
  const files: string[] = [];
  for (let index = 1; index <= of; index++) {
    const file = join(folder, String(index));
    await result(
      'explore',
      ...argv,
      '--shard',
      `${index}/${of}`,
      '--checkpoint',
      file,
      '--workers',
      '1',
    );
    files.push(file);
  }
  return files;
}

/** What merge says to files that it does not take. */
async function refused(...files: readonly string[]): Promise<string> {
  const { status, err } = await faultline('merge', 'litmus/install-2x1', ...files);
  expect(status).toBe(2);
  return err;
}

describe('shards', () => {
  test.each([1, 2, 3, 5])('%d of them find what one exploration does', async (of) => {
    const merged = await result(
      'merge',
      'litmus/install-2x2',
      ...(await shards(of, 'litmus/install-2x2')),
    );
    const whole = await result('explore', 'litmus/install-2x2');
    const { traces, finalStates, exhaustive, violations } = merged;
    expect({ traces, finalStates, exhaustive, violations }).toEqual({
      traces: whole.traces,
      finalStates: whole.finalStates,
      exhaustive: true,
      violations: [],
    });
    expect(merged.schedules - merged.abandoned).toBe(whole.traces);
  });

  test.each([1, 3])('%d of a random exploration', async (of) => {
    const flags = ['litmus/install-3x1', '--strategy', 'random', '--schedules', '1700'];
    const merged = await result('merge', 'litmus/install-3x1', ...(await shards(of, ...flags)));
    expect(seen(merged)).toEqual(seen(await result('explore', ...flags, '--workers', '1')));
  });

  test('a budget leaves parts, and the merged result says so', async () => {
    const files = await shards(2, 'litmus/install-2x2', '--schedules', '10');
    expect(await result('merge', 'litmus/install-2x2', ...files)).toMatchObject({
      exhaustive: false,
      stopped: 'unfinished',
      schedules: expect.any(Number) as number,
    });
  });

  test('merge refuses what does not belong together', async () => {
    const [one = '', two = ''] = await shards(2, 'litmus/install-2x1');
    const [other = ''] = await shards(1, 'litmus/install-2x2');
    const [three = ''] = await shards(3, 'litmus/install-2x1');
    expect(await refused(one)).toBe('faultline: merge: shard 2/2 is missing\n');
    expect(await refused(one, two, one)).toContain('shard 1/2 a second time');
    expect(await refused(one, other)).toContain('of another exploration: workload install-2x2');
    expect(await refused(one, three)).toContain('of 3 shards, not 2');
    expect(await refused(other)).toContain('of scenario ');
  });
});

describe('a checkpoint', () => {
  test('of an interrupted exploration is gone on from', async () => {
    const folder = newFolder();
    const file = join(folder, 'checkpoint');
    const flags = ['explore', 'litmus/install-3x1', '--workers', '1', '--checkpoint', file];
    const first = await result(...flags, '--schedules', '500');
    expect(first.stopped).toBe('schedules');
    const { done, counts } = JSON.parse(readFileSync(file, 'utf8').split('\n')[0] as string) as {
      readonly done: readonly number[];
      readonly counts: { readonly schedules: number };
    };
    expect(done.length).toBeGreaterThan(1);
    const rest = await result(...flags, '--resume', '--schedules', '500');
    // What is done counts.
    expect(rest.schedules).toBe(500);
    const whole = await result(...flags, '--resume');
    const anew = await result(
      'explore',
      'litmus/install-3x1',
      '--checkpoint',
      join(folder, 'new'),
      '--workers',
      '2',
    );
    expect(seen(whole)).toEqual(seen(anew));
    expect(whole).toMatchObject({ exhaustive: true, traces: 1584, finalStates: 9 });
    expect(counts.schedules).toBeLessThanOrEqual(500);
    expect(readdirSync(folder).toSorted()).toEqual(['checkpoint', 'new']);
  });

  test('is refused in one line if it is torn, foreign or of something else', async () => {
    const file = join(newFolder(), 'checkpoint');
    const flags = ['explore', 'litmus/install-2x1', '--workers', '1', '--checkpoint', file];
    await result(...flags);
    const text = readFileSync(file, 'utf8');
    const resumed = async (content: string, ...more: readonly string[]): Promise<string> => {
      writeFileSync(file, content);
      const { status, out, err } = await faultline(...flags, '--resume', ...more);
      expect({ status, out, lines: err.split('\n').length }).toEqual({
        status: 2,
        out: '',
        lines: 2,
      });
      return err;
    };
    expect(await resumed(text.slice(0, -9))).toContain('a checkpoint that is cut off or damaged');
    expect(await resumed(text.slice(0, 200))).toContain('a checkpoint that is cut off or damaged');
    expect(await resumed(text.replace('"done":[0', '"done":[7'))).toContain('cut off or damaged');
    expect(await resumed('{"schema":"other/1"}\n')).toContain('no checkpoint');
    expect(await resumed('')).toContain('no checkpoint');
    expect(await resumed(text, '--seed', '2')).toContain('of another exploration: seed 1, not 2');
    expect(await resumed(text, '--shard', '1/2')).toContain('of shard 1/1');
  });

  test.each([
    [['--shard', '1/2'], '--shard: needs --checkpoint, which merge reads'],
    [['--resume'], '--resume: needs --checkpoint'],
    [['--shard', '3/2', '--checkpoint', 'x'], '--shard: expected I/N with I from 1 to N'],
    [['--shard', '1/2', '--checkpoint', 'x', '--strategy', 'bounded'], '--shard: not with'],
    [['--workers', '0'], '--workers: expected a whole number'],
    [['--checkpoint', '/nowhere/x'], '--checkpoint: /nowhere/x: ENOENT'],
  ])('refuses %j', async (flags, message) => {
    const { status, err } = await faultline('explore', 'litmus/install-2x1', ...flags);
    expect(status).toBe(2);
    expect(err).toContain(message);
  });
});

describe('workers', () => {
  test.each([
    ['random', ['--schedules', '3100']],
    ['pct', ['--schedules', '3000', '--steps', '15000']],
    ['dpor', ['--schedules', '2500']],
  ])('by %s: the same for any number of them', async (strategy, budget) => {
    const flags = ['explore', 'litmus/install-4x1', '--strategy', strategy, ...budget];
    const one = await result(...flags, '--workers', '1');
    const three = await result(...flags, '--workers', '3');
    expect(seen(three)).toEqual(seen(one));
    expect(one.schedules).toBeLessThanOrEqual(Number(budget[1]));
    expect(one.traces).toBeGreaterThan(1);
  });
});
