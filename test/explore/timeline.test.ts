import { expect, test } from 'vitest';
import { Order, cas64, choose, load32, signal32, store64, wait, type Op } from '#port';
import { timelineOf } from '../../src/explore/timeline.ts';
import { subjectOf } from './subjects.ts';

function* writer(): Op<void> {
  yield* store64(64, 5, 1, Order.once);
  yield* choose(3);
  yield* signal32(72, 1, Order.release);
}

function* reader(): Op<void> {
  yield* load32(64, Order.once);
  yield* cas64(64, 0, 0, 9, 0, Order.once);
  yield* wait(72, 0);
  yield* load32(72, Order.once);
}

function* long(): Op<void> {
  for (let i = 0; i < 300; i++) yield* load32(64, Order.once);
}

test('only the end of a long execution is shown', () => {
  const agents = Array.from({ length: 300 }, () => 0);
  const { rows } = timelineOf(subjectOf([long]), { agents, choices: [] });
  expect(rows.map(({ step }) => step)).toEqual(Array.from({ length: 200 }, (_, i) => 101 + i));
});

test('a timeline says what each step did and why each switch happened', () => {
  const subject = {
    ...subjectOf([writer, reader]),
    nameOf: (at: number): string | null => (at === 72 ? 'flag' : null),
    describe: (_: number, lo: number): string | null => (lo === 5 ? 'five' : null),
  };
  const schedule = { agents: [1, 0, 1, 0, 0, 1, 1], choices: [2] };
  expect(timelineOf(subject, schedule)).toEqual({
    agents: ['A', 'B'],
    rows: [
      { step: 1, agent: 1, text: 'load32 0x40: 0', why: '' },
      { step: 2, agent: 0, text: 'store64 0x40: 0x0 -> five', why: 'B preempted' },
      { step: 3, agent: 1, text: 'cas64 0x40: five', why: 'A preempted' },
      { step: 4, agent: 0, text: 'choose 2 of 3', why: 'B waits' },
      { step: 5, agent: 0, text: 'signal flag: 0 -> 1', why: '' },
      { step: 6, agent: 1, text: 'wait flag: 0', why: 'A ended or sleeps' },
      { step: 7, agent: 1, text: 'load32 flag: 1', why: '' },
    ],
  });
});
