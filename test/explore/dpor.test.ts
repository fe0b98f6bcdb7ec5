import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  Order,
  PIN,
  REFERENCES,
  add32,
  cas32,
  cas64,
  choose,
  copy,
  fill,
  addUnlessZero32,
  load32,
  load64,
  or32,
  retryWhen,
  signal32,
  signalAdd32,
  store32,
  store64,
  wait,
  type Op,
  type Word,
} from '#port';
import { BruteForce } from '../../src/explore/brute-force.ts';
import { Dpor } from '../../src/explore/dpor.ts';
import { WHOLE } from '../../src/explore/prefix.ts';
import { prefixesOf } from '../../src/explore/splitter.ts';
import type { Subject } from '../../src/explore/subject.ts';
import { countsOf, exploreAll, installSubject, lockBoth, subjectOf } from './subjects.ts';

const dpor = (subject: Subject): Dpor => new Dpor(subject, WHOLE);
const bruteForce = (subject: Subject): BruteForce => new BruteForce(subject);

const X = 64;
const Y = 72;

describe('the install litmus', () => {
  test.each([
    { threads: 2, faults: 1, schedules: 498, traces: 48, finalStates: 4 },
    { threads: 2, faults: 2, schedules: 40_280, traces: 384, finalStates: 8 },
  ])('by brute force: $threads threads, $faults faults', ({ threads, faults, ...counts }) => {
    const explored = exploreAll(installSubject(threads, faults), bruteForce);
    expect(explored.stopped).toBe('exhausted');
    expect(countsOf(explored)).toEqual(counts);
  });

  test.each([
    { threads: 2, faults: 1, traces: 48, finalStates: 4 },
    { threads: 2, faults: 2, traces: 384, finalStates: 8 },
    { threads: 3, faults: 1, traces: 1584, finalStates: 9 },
    { threads: 4, faults: 1, traces: 50_176, finalStates: 16 },
  ])('reduced: $threads threads, $faults faults', ({ threads, faults, traces, finalStates }) => {
    const explored = exploreAll(installSubject(threads, faults), dpor);
    expect(explored.stopped).toBe('exhausted');
    expect(countsOf(explored)).toEqual({ schedules: traces, traces, finalStates });
  });
});

type Program = () => Op<void>;

/** What two explorations have to agree about. */
interface Seen {
  readonly finalStates: readonly string[];
  readonly verdicts: readonly string[];
  /**
   * None where an error was found: it ends its trace early, and how much of the other agents comes before is as the schedule has it.
   */
  readonly traces: readonly string[];
}

/** What the prefixes of a program show together. */
function seenByParts(subject: Subject): Seen {
  const seen = prefixesOf(subject, 8).map((prefix) =>
    seenBy(exploreAll(subject, () => new Dpor(subject, prefix)).explorer),
  );
  const all = (key: keyof Seen): string[] =>
    [...new Set(seen.flatMap((part) => part[key]))].toSorted();
  const verdicts = all('verdicts');
  const hasErrors = verdicts.some((verdict) => verdict.startsWith('error'));
  return { finalStates: all('finalStates'), verdicts, traces: hasErrors ? [] : all('traces') };
}

/** Explores a program both ways, and in parts; they have to agree in all but the number of schedules. */
function compare(
  programs: readonly Program[],
  options: Parameters<typeof subjectOf>[1] = {},
): Pick<Seen, 'verdicts'> & { readonly schedules: number; readonly traces: number } {
  const all = exploreAll(subjectOf(programs, options), bruteForce).explorer;
  const { explorer, stopped } = exploreAll(subjectOf(programs, options), dpor);
  expect(stopped).toBe('exhausted');
  expect(seenBy(explorer)).toEqual(seenBy(all));
  expect(explorer.schedules).toBeGreaterThanOrEqual(explorer.traces.size);
  expect(explorer.schedules).toBeLessThanOrEqual(all.schedules);
  expect(seenByParts(subjectOf(programs, options))).toEqual(seenBy(all));
  const { schedules, traces } = explorer;
  return { schedules, traces: traces.size, verdicts: seenBy(explorer).verdicts };
}

function seenBy({
  finalStates,
  failures,
  traces,
}: ReturnType<typeof exploreAll>['explorer']): Seen {
  const verdicts = [...failures.keys()].toSorted();
  const hasErrors = verdicts.some((verdict) => verdict.startsWith('error'));
  const named = hasErrors ? [] : [...traces.keys()].map(String);
  return { finalStates: [...finalStates].toSorted(), verdicts, traces: named.toSorted() };
}

const writer =
  (value: number): Program =>
  () =>
    store32(X, value, Order.once);
const storer =
  (value: number): Program =>
  () =>
    signal32(X, value, Order.release);

function* reader(): Op<void> {
  yield* load32(X, Order.once);
}

function* swapper(expected: number): Op<void> {
  yield* cas32(X, expected, 1, Order.full);
}

const failing: Program = () => swapper(9);
const winning: Program = () => swapper(0);

function* setter(): Op<void> {
  yield* or32(X, 4, Order.once);
}

function* marker(bits: number, seen: number): Op<void> {
  yield* or32(X, bits, Order.once, seen);
}

function setters(bits: number, seen: number): readonly Program[] {
  return [0, 1, 2].map(() => () => marker(bits, seen));
}

function* alone(at: Word): Op<void> {
  yield* store32(at, 1, Order.once);
  yield* load32(at, Order.once);
}

function* adder(delta: number, seen: number): Op<void> {
  yield* add32(X, delta, Order.once, seen);
}

function adders(seen: number): readonly Program[] {
  return [1, 2, 4].map((delta) => () => adder(delta, seen));
}

function* refer(delta: number): Op<void> {
  yield* add32(X, delta, Order.once, REFERENCES);
}

const get: Program = () => refer(1);
const put: Program = () => refer(-1);

function* pinned(): Op<void> {
  yield* refer(PIN);
  yield* refer(-PIN);
}

function* chooser(): Op<void> {
  yield* store32(X, yield* choose(3), Order.once);
}

/** What it chooses decides where it stores. */
function* scatterer(): Op<void> {
  yield* store32(X + 4 * (yield* choose(2)), 1, Order.once);
}

/** Many more steps than before if X was written. */
function* lingerer(): Op<void> {
  const written = yield* load32(X, Order.once);
  for (let i = 0; i < 100 * written; i++) yield* load32(Y + 8, Order.once);
  yield* load32(Y, Order.once);
}

function* waiter(): Op<void> {
  yield* wait(X, 0);
  yield* store32(Y, 1, Order.once);
}

describe('one execution for each trace', () => {
  test('of agents that share nothing', () => {
    const agents = [X, Y, Y + 8].map((at) => () => alone(at));
    expect(compare(agents)).toMatchObject({ schedules: 1, traces: 1 });
  });

  test('of readers', () => {
    expect(compare([reader, reader, reader])).toMatchObject({ schedules: 1 });
  });

  test('of writers', () => {
    expect(compare([writer(1), writer(2), writer(3)])).toMatchObject({ schedules: 6, traces: 6 });
  });

  test('of a reader and two writers', () => {
    expect(compare([reader, writer(1), writer(2)])).toMatchObject({ schedules: 6, traces: 6 });
  });

  test('of compare-and-swaps: one that fails is a read', () => {
    expect(compare([failing, failing, failing])).toMatchObject({ schedules: 1 });
    // Who wins; the losers read the same.
    expect(compare([winning, winning, winning])).toMatchObject({ schedules: 3, traces: 3 });
  });

  test('of setting bits: it is a read where they are set', () => {
    const three = [setter, setter, setter];
    expect(compare(three)).toMatchObject({ schedules: 3 });
    expect(compare(three, { initial: [[X, 4]] })).toMatchObject({ schedules: 1 });
  });

  test('of setting bits: they commute where nobody looks at what they set', () => {
    expect(compare(setters(4, 4))).toMatchObject({ schedules: 6 });
    expect(compare(setters(4, 8))).toMatchObject({ schedules: 1 });
    // Before any, or after some of them.
    expect(compare([...setters(4, 0), reader])).toMatchObject({ schedules: 8 });
  });

  test('of additions: they commute where nobody looks at what they change', () => {
    expect(compare(adders(-1))).toMatchObject({ schedules: 6 });
    expect(compare(adders(8))).toMatchObject({ schedules: 1 });
    expect(compare(adders(0))).toMatchObject({ schedules: 1 });
    // A reader sees how many came before, but not which.
    expect(compare([...adders(0), reader])).toMatchObject({ schedules: 8 });
  });

  test('of references: it matters who drops the last, and who takes one that may be gone', () => {
    expect(compare([get, get, get], { initial: [[X, 1]] })).toMatchObject({ schedules: 1 });
    expect(compare([put, put, put], { initial: [[X, 4]] })).toMatchObject({ schedules: 1 });
    expect(compare([put, put, put], { initial: [[X, 3]] })).toMatchObject({ traces: 3 });
    expect(compare([get, put], { initial: [[X, 2]] })).toMatchObject({ traces: 2 });
  });

  test('of pins: they commute while another reference stays', () => {
    expect(compare([pinned, pinned, pinned], { initial: [[X, 1]] })).toMatchObject({ traces: 1 });
    expect(compare([pinned, pinned], { initial: [[X, PIN]] })).toMatchObject({ traces: 6 });
    // The reference goes before, between or after.
    expect(compare([pinned, put], { initial: [[X, 1]] })).toMatchObject({ traces: 3 });
  });

  test('of choices', () => {
    // Nine pairs of choices, each stored in two orders.
    expect(compare([chooser, chooser])).toMatchObject({ traces: 18 });
    // Of four pairs two meet.
    expect(compare([scatterer, scatterer])).toMatchObject({ traces: 6 });
  });

  test('of executions that get longer: each of two writes comes before or after', () => {
    expect(compare([helper, lingerer, writer(1)])).toMatchObject({ schedules: 4, traces: 4 });
  });

  test('of a wait: the signal cannot come after it', () => {
    expect(compare([waiter, storer(1)])).toMatchObject({ schedules: 1 });
  });
});

/** Waits for a signal unless there is nothing to wait for; looks at the word before that, or too late. */
function* awaitWork(isLate: boolean): Op<void> {
  const early = yield* load32(X, Order.acquire);
  if ((yield* load32(Y, Order.acquire)) === 1) return;
  yield* wait(X, isLate ? yield* load32(X, Order.acquire) : early);
}

function* announceWork(): Op<void> {
  yield* store32(Y, 1, Order.once);
  yield* signalAdd32(X, 1, Order.release);
}

const inOrder: Program = () => lockBoth(X, Y);
const helper: Program = () => store32(Y, 1, Order.once);

function* pulse(): Op<void> {
  yield* signal32(X, 1, Order.release);
  yield* signal32(X, 0, Order.release);
}

function* failEarly(at: Word): Op<void> {
  yield* store32(at, 1, Order.once);
  if ((yield* load32(Y, Order.once)) === 0) throw new Error('early');
}

function* announce(): Op<void> {
  yield* signalAdd32(X, 1, Order.release);
  yield* load32(Y, Order.acquire);
}

/** Waits for announcements for ever. */
function* serve(): Op<void> {
  for (let seen = 0; ;) {
    yield* wait(X, seen);
    seen = yield* load32(X, Order.acquire);
    yield* store32(Y, seen, Order.once);
  }
}

function* addTwice(): Op<void> {
  for (let i = 0; i < 2; i++) yield* add32(X, 1, Order.once);
}

function* copyWord(): Op<void> {
  yield* store32(Y, yield* load32(X, Order.once), Order.once);
}

describe('what it finds', () => {
  test('two locks taken in two orders', () => {
    expect(compare([inOrder, inOrder]).verdicts).toEqual([]);
    expect(compare([inOrder, () => lockBoth(Y, X)]).verdicts).toEqual(['deadlock']);
  });

  test('a wake-up that is lost: the word is looked at after the condition', () => {
    expect(compare([() => awaitWork(false), announceWork]).verdicts).toEqual([]);
    expect(compare([() => awaitWork(true), announceWork]).verdicts).toEqual(['deadlock']);
  });

  test('a wait that comes too late for a word that changed and changed back', () => {
    expect(compare([waiter, pulse]).verdicts).toEqual(['deadlock']);
    expect(compare([pulse, waiter]).verdicts).toEqual(['deadlock']);
    expect(compare([pulse, pulse, waiter]).verdicts).toEqual(['deadlock']);
  });

  test('a waitable word that is written without a signal', () => {
    expect(compare([waiter, writer(1)]).verdicts).toEqual([
      'error: B: word 64 has a waiter (A) and was written without a signal',
    ]);
  });

  test('errors of every agent, although the first ends the execution', () => {
    expect(compare([() => failEarly(X), () => failEarly(X + 16), helper]).verdicts).toEqual([
      'error: A: early',
      'error: B: early',
    ]);
  });

  test('what a daemon may have done before the others end', () => {
    // X is 0, 1 or 2 at the end, Y no more than that.
    expect(compare([copyWord, addTwice], { daemons: [1] })).toMatchObject({ verdicts: [] });
    expect(compare([addTwice, copyWord], { daemons: [0] })).toMatchObject({ verdicts: [] });
  });

  test('what a daemon does that serves the others, to its end', () => {
    expect(compare([announce, announce, serve], { servers: [2] })).toMatchObject({ traces: 34 });
    expect(compare([copyWord, serve], { servers: [1] })).toMatchObject({ traces: 1 });
  });
});

/** One operation of a generated program. */
type Line<T extends Operations> = readonly [operation: keyof T, at: Word, value: number];
type Operations = Readonly<Record<string, (at: Word, value: number) => Op<unknown>>>;

const OPERATIONS = {
  load32: (at) => load32(at, Order.once),
  store32: (at, value) => store32(at, value, Order.once),
  add32: (at, value) => add32(at, value, Order.once),
  addUnseen: (at, value) => add32(at, value, Order.once, 0),
  addAbove: (at, value) => add32(at, 16 * value, Order.once, 15),
  or32: (at, value) => or32(at, value, Order.once),
  orUnseen: (at, value) => or32(at, value, Order.once, 0),
  orSeen: (at, value) => or32(at, value, Order.once, 1),
  get: (at) => add32(at, 1, Order.once, REFERENCES),
  tryGet: (at) => addUnlessZero32(at, 1, Order.once),
  put: (at) => add32(at, -1, Order.once, REFERENCES),
  pin: (at) => add32(at, PIN, Order.once, REFERENCES),
  tryPin: (at) => addUnlessZero32(at, PIN, Order.once),
  unpin: (at) => add32(at, -PIN, Order.once, REFERENCES),
  cas32: (at, value) => cas32(at, value, value + 1, Order.full),
  load64: (at) => load64(at & ~7, Order.once),
  store64: (at, value) => store64(at & ~7, value, value, Order.once),
  cas64: (at, value) => cas64(at & ~7, value, 0, value + 1, 1, Order.full),
  fill: (at, value) => fill(at & ~15, 16, value),
  copy: (at, value) => copy(at ^ 32, at, 4 + 4 * value),
  choose: () => choose(2),
} satisfies Operations;

/** Words that are waited for are written by signals only. */
const WAITS = {
  wait: (at, value) => wait(at, value),
  retryWhen: (at, value) => retryWhen(at, value),
  signal32: (at, value) => signal32(at, value, Order.release),
  signalAdd32: (at, value) => signalAdd32(at, value, Order.release),
} satisfies Operations;

function programsOf<T extends Operations>(
  operations: T,
  linesMax: number,
): fc.Arbitrary<Line<T>[][]> {
  const line = fc.tuple(
    fc.constantFrom<keyof T>(...Object.keys(operations)),
    fc.constantFrom(64, 68, 72, 96),
    fc.integer({ min: 0, max: 2 }),
  );
  const program = fc.array(line, { minLength: 1, maxLength: linesMax });
  return fc.array(program, { minLength: 2, maxLength: 3 });
}

/** What an agent saw decides what it stores at the end: final states tell executions apart. */
function* run(lines: readonly Line<typeof OPERATIONS>[], agent: number): Op<void> {
  let seen = 0;
  for (const [operation, at, value] of lines) {
    const result: unknown = yield* OPERATIONS[operation](at, value);
    seen = seen * 5 + Number(result ?? 0);
  }
  yield* store32(128 + agent * 4, seen, Order.once);
}

function* runWaits(lines: readonly Line<typeof WAITS>[]): Op<void> {
  for (const [operation, at, value] of lines) yield* WAITS[operation](at, value);
}

describe('any small program', () => {
  test('has the same traces, final states and verdicts as by brute force', () => {
    fc.assert(
      fc.property(programsOf(OPERATIONS, 2), (programs) => {
        compare(programs.map((lines, agent) => () => run(lines, agent)));
      }),
      { numRuns: 120 },
    );
  });

  test('of references, too, from any count', () => {
    const line = fc.tuple(
      fc.constantFrom('get', 'tryGet', 'put', 'pin', 'tryPin', 'unpin', 'load32'),
      fc.constant(64),
      fc.constant(0),
    );
    const programs = fc.array(fc.array(line, { minLength: 1, maxLength: 2 }), {
      minLength: 3,
      maxLength: 3,
    });
    fc.assert(
      fc.property(
        programs,
        fc.constantFrom(0, 1, 2, 4, PIN, 2 * PIN, 2 * PIN + 1),
        (each, count) => {
          compare(
            each.map((lines, agent) => () => run(lines, agent)),
            { initial: [[64, count]] },
          );
        },
      ),
      { numRuns: 80 },
    );
  });

  test('of waits, too', () => {
    fc.assert(
      fc.property(programsOf(WAITS, 4), (programs) => {
        const { schedules, traces } = compare(programs.map((lines) => () => runWaits(lines)));
        expect(schedules).toBe(traces);
      }),
      { numRuns: 80 },
    );
  });
});
