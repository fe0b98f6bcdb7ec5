/** Locks as wholes against every step of their algorithms: the same ends, fewer traces. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Order, load32, store32, type Op, type Word } from '#port';
import { BruteForce } from '../../src/explore/brute-force.ts';
import { Dpor } from '../../src/explore/dpor.ts';
import { WHOLE } from '../../src/explore/prefix.ts';
import { prefixesOf } from '../../src/explore/splitter.ts';
import type { Explorer } from '../../src/explore/explorer.ts';
import type { Locks } from '../../src/explore/subject.ts';
import { RwLock } from '../../src/locking/rw-lock.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { LOCK_STATISTICS, READ_WRITE_STATISTICS } from '../fixtures/threads-locking/layout.ts';
import { exploreAll, subjectOf } from './subjects.ts';

const BYTES = 0x8000;
/** Above the statistics of both locks. */
const LOCKS_AT: Word = 0x4000;
const AGENTS_MAX = 3;
/** What agents write, and below that what each saw last. */
const DATA: Word = 0x6000;
const SEEN: Word = DATA + 16;

/** `spin` and `other`: two spin locks; `read`, `write`: a side of a third lock. */
const KINDS = ['spin', 'other', 'read', 'write'] as const;
type Kind = (typeof KINDS)[number];

/** What an agent does while it holds locks: looks whether it is waited for, loads, or stores its number. */
const ACTS = ['ask', 'load', 'store'] as const;
interface Section {
  readonly locks: readonly Kind[];
  readonly acts: readonly (typeof ACTS)[number][];
}

class Agent {
  readonly #id: number;
  readonly #spins: readonly [SpinLock, SpinLock];
  readonly #rw: RwLock;
  #seen = 0;

  constructor(id: number) {
    this.#id = id;
    const spinBytes = SpinLock.bytes(AGENTS_MAX);
    this.#spins = [
      new SpinLock(LOCKS_AT, AGENTS_MAX, LOCK_STATISTICS),
      new SpinLock(LOCKS_AT + spinBytes, AGENTS_MAX, LOCK_STATISTICS),
    ];
    this.#rw = new RwLock(LOCKS_AT + 2 * spinBytes, AGENTS_MAX, READ_WRITE_STATISTICS);
  }

  *run(sections: readonly Section[]): Op<void> {
    for (const { locks, acts } of sections) {
      for (const kind of locks) yield* this.#lock(kind);
      for (const act of acts) yield* this.#act(act, locks[0] as Kind);
      for (const kind of locks.toReversed()) yield* this.#unlock(kind);
    }
    yield* store32(SEEN + this.#id * 4, this.#seen, Order.once);
  }

  *#act(act: Section['acts'][number], held: Kind): Op<void> {
    if (act === 'store') yield* store32(DATA, this.#id + 1, Order.once);
    else if (act === 'load') this.#seen = this.#seen * 4 + (yield* load32(DATA, Order.once));
    else this.#seen = this.#seen * 4 + Number(yield* this.#isContended(held));
  }

  *#lock(kind: Kind): Op<void> {
    if (kind === 'read') yield* this.#rw.readLock();
    else if (kind === 'write') yield* this.#rw.writeLock();
    else yield* this.#spins[kind === 'spin' ? 0 : 1].lock();
  }

  *#unlock(kind: Kind): Op<void> {
    if (kind === 'read') yield* this.#rw.readUnlock();
    else if (kind === 'write') yield* this.#rw.writeUnlock();
    else yield* this.#spins[kind === 'spin' ? 0 : 1].unlock();
  }

  *#isContended(kind: Kind): Op<boolean> {
    if (kind === 'read' || kind === 'write') return yield* this.#rw.isContended();
    return yield* this.#spins[kind === 'spin' ? 0 : 1].isContended();
  }
}

type Programs = readonly (readonly Section[])[];

function subject(programs: Programs, locks: Locks): ReturnType<typeof subjectOf> {
  const all = programs.map((sections, id) => () => new Agent(id).run(sections));
  const made = subjectOf(all, {
    bytes: BYTES,
    locks,
    state: () => made.words.subarray(DATA >>> 2, (SEEN >>> 2) + AGENTS_MAX).join(' '),
  });
  return made;
}

interface Ends {
  readonly finalStates: readonly string[];
  readonly verdicts: readonly string[];
}

function endsOf(explorers: readonly Explorer[]): Ends {
  const all = (each: (explorer: Explorer) => Iterable<string>): string[] =>
    [...new Set(explorers.flatMap((explorer) => [...each(explorer)]))].toSorted();
  return {
    finalStates: all(({ finalStates }) => finalStates),
    verdicts: all(({ failures }) => failures.keys()),
  };
}

interface Compared extends Ends {
  readonly traces: Readonly<Record<Locks, number>>;
}

/** Explores both ways, as wholes in parts too. */
function compare(programs: Programs): Compared {
  const steps = exploreAll(subject(programs, 'steps'), (all) => new Dpor(all, WHOLE)).explorer;
  const divided = subject(programs, 'wholes');
  const wholes = exploreAll(divided, (all) => new Dpor(all, WHOLE)).explorer;
  const ends = endsOf([wholes]);
  expect(ends).toEqual(endsOf([steps]));
  const parts = prefixesOf(divided, 4).map(
    (prefix) => exploreAll(divided, (all) => new Dpor(all, prefix)).explorer,
  );
  expect(endsOf(parts)).toEqual(ends);
  expect(wholes.traces.size).toBeLessThanOrEqual(steps.traces.size);
  return { ...ends, traces: { steps: steps.traces.size, wholes: wholes.traces.size } };
}

/** The same, and as wholes by brute force: the same traces. */
function compareAll(programs: Programs): Compared {
  const compared = compare(programs);
  const brute = exploreAll(subject(programs, 'wholes'), (all) => new BruteForce(all)).explorer;
  const reduced = exploreAll(subject(programs, 'wholes'), (all) => new Dpor(all, WHOLE)).explorer;
  expect(new Set(reduced.traces.keys())).toEqual(new Set(brute.traces.keys()));
  return compared;
}

const sectionOf = (...locks: readonly Kind[]): Section => ({ locks, acts: ['load', 'store'] });
const asking: Section = { locks: ['spin'], acts: ['ask', 'ask'] };

describe('as wholes, locks leave what matters', () => {
  test('of a spin lock, who was first', () => {
    const once = [sectionOf('spin')];
    expect(compareAll([once, once]).traces).toEqual({ steps: 4, wholes: 2 });
    expect(compare([once, once, once]).traces).toEqual({ steps: 30, wholes: 6 });
  });

  test('of a reader-writer lock, which readers came before which writer', () => {
    const [read, write]: Section[] = [{ locks: ['read'], acts: ['load'] }, sectionOf('write')];
    expect(compare([[read as Section], [read as Section], [write as Section]]).traces.wholes).toBe(
      4,
    );
  });

  test('whether a holder that asks is waited for', () => {
    const { finalStates, traces } = compareAll([[asking], [sectionOf('spin')]]);
    // Never, from the second time on, both times.
    expect(finalStates).toHaveLength(3);
    expect(traces.wholes).toBeLessThan(traces.steps);
  });

  test('a deadlock of two that take two locks in two orders', () => {
    const programs = [[sectionOf('spin', 'other')], [sectionOf('other', 'spin')]];
    expect(compareAll(programs).verdicts).toEqual(['deadlock']);
  });
});

/** Sections of one lock, or of two: the reader-writer lock is never taken inside another. */
const LOCKS: readonly (readonly Kind[])[] = [
  ...KINDS.map((kind) => [kind]),
  ['spin', 'other'],
  ['other', 'spin'],
  ['read', 'spin'],
  ['write', 'other'],
];

test('any small program ends as with every step', () => {
  const section = fc.record({
    locks: fc.constantFrom(...LOCKS),
    acts: fc.array(fc.constantFrom(...ACTS), { maxLength: 2 }),
  });
  const two = fc.array(fc.array(section, { minLength: 1, maxLength: 2 }), {
    minLength: 2,
    maxLength: 2,
  });
  const three = fc.array(fc.array(section, { minLength: 1, maxLength: 1 }), {
    minLength: 3,
    maxLength: 3,
  });
  fc.assert(
    fc.property(fc.oneof(two, three), (programs) => void compare(programs)),
    { numRuns: 80 },
  );
});
