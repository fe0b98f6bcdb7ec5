/** The engines declare one port; the compiler compares the types, this file the names and the kinds. */
import { describe, expect, expectTypeOf, test } from 'vitest';
import * as explore from '../../src/engine/explore.ts';
import { Stopped, type Op, type Port, type Stripped } from '../../src/engine/port.ts';
import * as threadsJs from '../../src/engine/threads-js.ts';
import * as threads from '../../src/engine/threads.ts';
import * as traced from '../../src/engine/traced.ts';

const OPERATIONS: Readonly<Record<keyof Port, 'atomic' | 'ordinary'>> = {
  load32: 'atomic',
  store32: 'atomic',
  add32: 'atomic',
  addUnlessZero32: 'atomic',
  or32: 'atomic',
  cas32: 'atomic',
  load64: 'atomic',
  store64: 'atomic',
  cas64: 'atomic',
  barrier: 'atomic',
  fill: 'atomic',
  copy: 'atomic',
  wait: 'atomic',
  signal32: 'atomic',
  signalAdd32: 'atomic',
  retryWhen: 'atomic',
  choose: 'atomic',
  high: 'ordinary',
  read32: 'ordinary',
  write32: 'ordinary',
  event: 'ordinary',
  count: 'ordinary',
  counted: 'ordinary',
  tally: 'ordinary',
  now: 'ordinary',
};
const names = Object.keys(OPERATIONS) as (keyof Port)[];

function kindOf(operation: object): 'atomic' | 'ordinary' {
  return Object.getPrototypeOf(operation) === Function.prototype ? 'ordinary' : 'atomic';
}

describe('explore', () => {
  test('is the port', () => {
    expectTypeOf(explore).toExtend<Port>();
    const engine: Port = explore;
    const found = names.map((name) => [name, kindOf(engine[name])]);
    expect(Object.fromEntries(found)).toEqual(OPERATIONS);
  });
});

describe.each([
  ['threads', threads],
  ['threads-js', threadsJs],
  ['traced', traced],
])('%s', (_name, engine) => {
  test('is the port, stripped', () => {
    expectTypeOf(engine).toExtend<Stripped<Port>>();
    expect(names.map((name) => kindOf(engine[name]))).toEqual(names.map(() => 'ordinary'));
  });

  test('has the names of explore, but for what runs executions', () => {
    const expected = Object.keys(explore).filter((name) => name !== 'explore');
    expect(Object.keys(engine).toSorted()).toEqual(expected.toSorted());
  });

  test('shares the labels and the error of a stop', () => {
    expect(engine.Order).toBe(explore.Order);
    expect(engine.Barrier).toBe(explore.Barrier);
    expect(engine.Stop).toBe(explore.Stop);
    expect(engine.Stopped).toBe(Stopped);
  });
});

test('the thread ports are of one type each, and neither is the other kind', () => {
  expectTypeOf(threads).toExtend<Stripped<Port>>();
  expectTypeOf(threadsJs).toExtend<Stripped<Port>>();
  expectTypeOf(traced).toExtend<Stripped<Port>>();
  expectTypeOf(threads).not.toExtend<Port>();
  expectTypeOf(threadsJs).not.toExtend<Port>();
  expectTypeOf(traced).not.toExtend<Port>();
  expectTypeOf(explore).not.toExtend<Stripped<Port>>();
  expectTypeOf<Stripped<{ f(at: number): Op<boolean>; g(): number }>>().toEqualTypeOf<{
    f: (at: number) => boolean;
    g: () => number;
  }>();
  expect(names).toHaveLength(25);
});

test('an error of a stop says so', () => {
  expect(new Stopped()).toMatchObject({ name: 'Stopped', message: 'the run was stopped' });
});
