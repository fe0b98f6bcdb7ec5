/** The log of acknowledged accesses: epochs decide what of it still counts. */
import { expect, test } from 'vitest';
import { AccessLog } from '../../src/workers/log.ts';
import { Lab } from '../support/lab.ts';

const write = (sequence: number, protectEpoch = 0, discardEpoch = 0) => ({
  sequence,
  executed: false,
  protectEpoch,
  logEpoch: protectEpoch + 1,
  discardEpoch,
});
const read = (protectEpoch = 0, discardEpoch = 0) => write(0, protectEpoch, discardEpoch);

function logs(): readonly [AccessLog, AccessLog] {
  const { layout } = new Lab().world;
  return [new AccessLog(layout, 0), new AccessLog(layout, 1)];
}

test('a page nobody accessed has no entry, one that was read has an empty one', () => {
  const [log] = logs();
  expect([log.entry(5, 0), log.lastWrite(5, 0)]).toEqual([null, 0]);
  log.note(5, read(3));
  expect(log.entry(5, 0)).toEqual({ sequence: 0, protectEpoch: 0, logEpoch: 0, executed: false });
  expect([log.entry(4, 0), log.entry(6, 0)]).toEqual([null, null]);
});

test('the last write stands with the epoch in which it was acknowledged; later reads leave it', () => {
  const [log] = logs();
  log.note(0, write(7, 2));
  log.note(0, read(9));
  expect(log.entry(0, 0)).toEqual({ sequence: 7, protectEpoch: 2, logEpoch: 3, executed: false });
  log.note(0, write(8, 9));
  expect(log.entry(0, 0)).toEqual({ sequence: 8, protectEpoch: 9, logEpoch: 10, executed: false });
  expect(log.lastWrite(0, 0)).toBe(8);
});

test('an execution is remembered, whatever follows', () => {
  const [log] = logs();
  log.note(1, { ...read(), executed: true });
  log.note(1, write(3, 1));
  expect(log.entry(1, 0)).toEqual({ sequence: 3, protectEpoch: 1, logEpoch: 2, executed: true });
});

test('a discard forgets everything before it', () => {
  const [log] = logs();
  log.note(2, { ...write(4), executed: true });
  expect([log.entry(2, 1), log.lastWrite(2, 1)]).toEqual([null, 0]);
  log.note(2, read(0, 1));
  expect(log.entry(2, 1)).toEqual({ sequence: 0, protectEpoch: 0, logEpoch: 1, executed: false });
  expect([log.entry(2, 0), log.lastWrite(2, 0)]).toEqual([null, 0]);
});

test("each vCPU's log is its own, the last page of the first and the first of the second included", () => {
  const lab = new Lab();
  const { pages } = lab.world.layout;
  const [first, second] = [new AccessLog(lab.world.layout, 0), new AccessLog(lab.world.layout, 1)];
  first.note(pages - 1, write(1));
  second.note(0, write(2));
  expect([first.lastWrite(pages - 1, 0), first.entry(0, 0)]).toEqual([1, null]);
  expect([second.lastWrite(0, 0), second.entry(pages - 1, 0)]).toEqual([2, null]);
});
