import { expect, test } from 'vitest';
import { ProgressLine } from '../../src/main/progress.ts';
import { fakeIo } from './fake-io.ts';

const state = { round: 3, accesses: 12_000, faults: 345, seed: 7 };

test('writes one line over and over, at most every 100 ms, and takes it away', () => {
  const io = fakeIo(true);
  let now = 1000;
  const line = new ProgressLine(io, () => now);
  line.update(state);
  now += 99;
  line.update({ ...state, round: 4 });
  now += 1;
  line.update({ ...state, round: 5 });
  line.clear();
  line.clear();
  expect(io.err()).toBe(
    '\r\u001B[Kseed 7, round 3: 12,000 accesses, 345 faults' +
      '\r\u001B[Kseed 7, round 5: 12,000 accesses, 345 faults' +
      '\r\u001B[K',
  );
  expect(io.out()).toBe('');
});

test('is silent where standard error is no terminal', () => {
  const io = fakeIo(false);
  const line = new ProgressLine(io);
  line.update(state);
  line.clear();
  expect(io.err()).toBe('');
});
