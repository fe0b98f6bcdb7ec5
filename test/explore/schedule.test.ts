import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ScheduleError,
  formatSchedule,
  parseSchedule,
  type Schedule,
} from '../../src/explore/schedule.ts';

const indexes = fc.uniqueArray(fc.integer({ min: 0, max: 99 }), { maxLength: 20 });
const rest = fc.record({
  phase: fc.integer({ min: 0, max: 40 }),
  agent: fc.integer({ min: 0, max: 600 }),
  kept: indexes.map((kept) => kept.toSorted((a, b) => a - b)),
});

const schedules: fc.Arbitrary<Schedule> = fc.record({
  scenario: fc.stringMatching(/^[0-9a-f]{8}$/),
  seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  agents: fc.array(fc.integer({ min: 0, max: 600 })),
  choices: fc.array(fc.integer({ min: 0, max: 1000 })),
  rests: fc.array(rest, { maxLength: 4 }),
});

const example: Schedule = {
  scenario: '0123abcd',
  seed: 36,
  agents: [0, 0, 0, 1, 0, 0],
  choices: [1, 0],
  rests: [],
};
const text = 'fl1:0123abcd:10:0-3.1.0-2:1.0:';

/** What `parseSchedule` complains about. */
function complaint(broken: string): string {
  try {
    parseSchedule(broken);
  } catch (error) {
    if (error instanceof ScheduleError) return error.message;
    throw error;
  }
  return 'none';
}

describe('a schedule', () => {
  test('is one short line', () => {
    expect(formatSchedule(example).startsWith(text)).toBe(true);
    expect(formatSchedule(example).slice(text.length)).toMatch(/^[0-9a-f]{8}$/);
  });

  test('says what is left of programs that are not whole', () => {
    const rests = [
      { phase: 0, agent: 1, kept: [] },
      { phase: 2, agent: 10, kept: [0, 1, 2, 40, 41, 50] },
    ];
    expect(formatSchedule({ ...example, rests })).toContain(`${text}0-1.2-a-0-3-14-2-1e-1:`);
  });

  test('comes back as it was', () => {
    fc.assert(
      fc.property(schedules, (schedule) => {
        expect(parseSchedule(formatSchedule(schedule))).toEqual(schedule);
      }),
    );
  });

  test('may be empty', () => {
    const empty = { ...example, agents: [], choices: [] };
    expect(parseSchedule(formatSchedule(empty))).toEqual(empty);
  });
});

describe('refused, in one line', () => {
  test.each([
    ['', 'no schedule: it does not begin with fl1:'],
    ['hello', 'no schedule: it does not begin with fl1:'],
    ['fl', 'no schedule: it does not begin with fl1:'],
    ['fl2:0123abcd:10:0::00000000', 'a schedule of version fl2, not fl1'],
    ['fl1', 'a schedule that is cut off or damaged'],
    ['fl1:', 'a schedule that is cut off or damaged'],
  ])('%s', (broken, message) => {
    expect(complaint(broken)).toBe(message);
  });

  test('whatever is cut off', () => {
    const whole = formatSchedule(example);
    for (let length = 0; length < whole.length; length++) {
      expect(complaint(whole.slice(0, length))).not.toBe('none');
    }
  });

  test('whatever letter is another', () => {
    const whole = formatSchedule(example);
    fc.assert(
      fc.property(
        fc.nat(whole.length - 1),
        fc.string({ minLength: 1, maxLength: 1 }),
        (at, other) => {
          fc.pre(other !== whole[at]);
          expect(complaint(whole.slice(0, at) + other + whole.slice(at + 1))).not.toBe('none');
        },
      ),
    );
  });

  test('any text', () => {
    fc.assert(
      fc.property(fc.string(), (any) => {
        expect(complaint(any)).not.toBe('none');
      }),
    );
  });

  test.each([
    ['0-0', 'no run of steps in a schedule: 0-0'],
    ['0-1-1', 'no run of steps in a schedule: 0-1-1'],
    ['0-zzzzzzz', 'no run of steps in a schedule: 0-zzzzzzz'],
    ['0-', 'no number in a schedule: '],
    ['0..1', 'no number in a schedule: '],
    ['0X', 'no number in a schedule: 0X'],
  ])('with a sum that is right: runs %s', (runs, message) => {
    expect(complaint(withSum(`fl1:0123abcd:10:${runs}:`))).toBe(message);
  });

  test('with a sum that is right: no scenario', () => {
    expect(complaint(withSum('fl1:xyz:10:0:'))).toBe('a schedule without a scenario');
  });
});

/** The text with its sum, as the tested function would write it: FNV-1a. */
function withSum(fields: string): string {
  let sum = 0x811c9dc5;
  for (const letter of fields) {
    sum = Math.imul(sum ^ (letter.codePointAt(0) as number), 0x01000193);
  }
  return `${fields}:${(sum >>> 0).toString(16).padStart(8, '0')}`;
}
