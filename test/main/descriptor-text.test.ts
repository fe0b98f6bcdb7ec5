import { expect, test } from 'vitest';
import { timelineOf } from '../../src/explore/timeline.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Recorder } from '../../src/explore/recorder.ts';
import { explore } from '#port';
import { Execution } from '../../src/engine/execution.ts';
import { loadTarget } from '../../src/main/explore/target.ts';

test('entries of tables are decoded in a timeline', () => {
  const subject = loadTarget('litmus/translation', { kvm: '5.10' }).subjectOf(1);
  const scheduler = new Recorder(new RandomScheduler(1), subject.words);
  explore(new Execution({ agents: subject.begin(), scheduler, stepsMax: 100_000 }));
  const { rows } = timelineOf(subject, scheduler);
  const stored = rows.filter(({ text }) => text.startsWith('store64')).map(({ text }) => text);
  expect(stored.some((text) => /: empty -> leaf 0x[0-9a-f]+ (?:W|RO) XN? AF$/u.test(text))).toBe(
    true,
  );
});
