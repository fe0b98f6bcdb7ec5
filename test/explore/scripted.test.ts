import { beforeEach, describe, expect, test } from 'vitest';
import { Order, choose, load32, wait, type Op } from '#port';
import { EventKind } from '../../src/engine/events.ts';
import type { ExecutionResult } from '../../src/engine/execution.ts';
import { ScriptError, Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { Recorder, execute, sandbox } from '../support/executions.ts';

beforeEach(() => {
  sandbox();
});

/** Loads words 64, 72, 80, ... */
const loads = (times: number) =>
  function* (): Op<void> {
    for (let i = 0; i < times; i++) yield* load32(64 + i * 8, Order.once);
  };

const waits = function* (): Op<void> {
  yield* load32(64, Order.once);
  yield* wait(64, 0);
};

/** Who took each step, and how the execution ended. */
function play(
  script: readonly ScriptLine[],
  agents: readonly (() => Op<void>)[],
): { readonly order: string; readonly linesDone: number; readonly result: ExecutionResult } {
  const recorder = new Recorder();
  const scheduler = new Scripted(script);
  const result = execute({ agents, scheduler, sinks: [recorder] });
  const order = recorder.events.map(({ agent }) => agent).join('');
  return { order, linesDone: scheduler.linesDone, result };
}

describe('a line', () => {
  test('runs an agent some steps', () => {
    const script = [
      { agent: 1, steps: 2 },
      { agent: 0, steps: 1 },
      { agent: 1, steps: 1 },
    ];
    expect(play(script, [loads(2), loads(4)])).toMatchObject({ order: '110110', linesDone: 3 });
  });

  test('of no steps is passed over', () => {
    const script = [
      { agent: 0, steps: 0 },
      { agent: 1, steps: 1 },
    ];
    expect(play(script, [loads(1), loads(2)])).toMatchObject({ order: '110', linesDone: 2 });
  });

  test('runs an agent until an operation is pending, which is not performed', () => {
    const script: ScriptLine[] = [
      { agent: 1, until: ({ at }) => at === 80 },
      { agent: 0, steps: 1 },
      { agent: 1, until: ({ kind, at }) => kind === EventKind.load32 && at === 88 },
      { agent: 0, steps: 1 },
    ];
    expect(play(script, [loads(3), loads(4)])).toMatchObject({ order: '1101001', linesDone: 4 });
  });

  test('does nothing where its operation is pending already', () => {
    const script: ScriptLine[] = [
      { agent: 1, until: ({ at }) => at === 64 },
      { agent: 1, until: ({ at }) => at === 64 },
      { agent: 1, steps: 1 },
    ];
    expect(play(script, [loads(2), loads(2)])).toMatchObject({ order: '1100', linesDone: 3 });
  });

  test('runs an agent to its end', () => {
    const script: ScriptLine[] = [
      { agent: 0, steps: 1 },
      { agent: 1, toEnd: true },
      { agent: 1, toEnd: true },
    ];
    expect(play(script, [loads(2), loads(3)])).toMatchObject({ order: '01110', linesDone: 3 });
  });

  test('runs an agent until it waits', () => {
    const script: ScriptLine[] = [{ agent: 1, toEnd: true }];
    expect(play(script, [loads(1), waits])).toMatchObject({ order: '110', linesDone: 1 });
  });
});

test('after the script the agent goes on that ran, then the lowest', () => {
  const script = [{ agent: 1, steps: 1 }];
  expect(play(script, [loads(1), loads(2), loads(1)])).toMatchObject({ order: '1102' });
  expect(play([], [loads(2), loads(2)])).toMatchObject({ order: '0011' });
});

describe('an impossible line is an error that names it', () => {
  test.each<readonly [string, ScriptLine, number]>([
    ['more steps than there are', { agent: 1, steps: 3 }, 1],
    ['until what never comes', { agent: 1, until: ({ at }) => at === 4096 }, 1],
  ])('%s', (_what, line, index) => {
    const { order, result, linesDone } = play([{ agent: 0, steps: 1 }, line], [loads(2), loads(2)]);
    expect(order).toBe('011');
    expect(linesDone).toBe(index);
    expect(result).toMatchObject({
      outcome: 'threw',
      detail: 'B: script line 1: agent 1 cannot run',
      error: expect.any(ScriptError) as unknown,
    });
  });

  test('steps of an agent that waits', () => {
    expect(play([{ agent: 1, steps: 3 }], [loads(1), waits]).result).toMatchObject({
      detail: 'B: script line 0: agent 1 cannot run',
      error: expect.any(ScriptError) as unknown,
    });
  });

  test('until an operation that is behind, where the agent waits', () => {
    const script: ScriptLine[] = [
      { agent: 1, toEnd: true },
      { agent: 1, until: ({ kind }) => kind === EventKind.wait },
    ];
    expect(play(script, [loads(1), waits]).result).toMatchObject({
      detail: 'B: script line 1: agent 1 cannot run',
      error: expect.any(ScriptError) as unknown,
    });
  });

  test('at the first step', () => {
    expect(play([{ agent: 7, steps: 1 }], [loads(1)]).result).toMatchObject({
      outcome: 'threw',
      detail: 'scheduler: script line 0: agent 7 cannot run',
      error: expect.any(ScriptError) as unknown,
    });
  });
});

const chooser = (...bounds: readonly number[]) =>
  function* (): Op<void> {
    for (const bound of bounds) yield* choose(bound);
  };

/** The choices made, then how the execution ended. */
function choices(given: readonly number[], bounds: readonly number[]): unknown[] {
  const recorder = new Recorder();
  const scheduler = new Scripted([], given);
  const result = execute({ agents: [chooser(...bounds)], scheduler, sinks: [recorder] });
  const detail = result.outcome === 'threw' ? result.detail : result.outcome;
  return [...recorder.events.map(({ now }) => now[0]), detail];
}

describe('choices', () => {
  test('are made in order', () => {
    expect(choices([2, 0, 4], [3, 1, 5])).toEqual([2, 0, 4, 'completed']);
  });

  test('that are missing or too large are errors', () => {
    expect(choices([2], [3, 3])).toEqual([2, 'A: no choice below 3 in the script']);
    expect(choices([3], [3])).toEqual(['A: no choice below 3 in the script']);
  });
});
