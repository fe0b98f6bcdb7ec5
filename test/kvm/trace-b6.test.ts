/** Trace B6 of the specification: two vCPUs fault on one empty page of profile `6.12`, step by step (4K, IPA 40). */
import { drive } from '#port';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import type { Pending } from '../../src/engine/execution.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { Guest, Lab, only, PAGE, type Seen } from '../support/lab.ts';

const IPA = 0x4020_0000;

/** Script: an agent runs until it is about to do this to the entry. */
function upTo(agent: number, kind: number, at: number): ScriptLine {
  return { agent, until: (pending: Pending) => pending.kind === kind && pending.at === at };
}

const hex = (lo: number): string => (lo >>> 0).toString(16);

/** What happened to the entry: `A loads 0`, `B swaps 0 for 400, and fails`. */
function story(events: readonly Seen[], at: number): string[] {
  return events.flatMap(({ agent, kind, at: word, oldLo, newLo }) => {
    if (word !== at) return [];
    const name = agent === 0 ? 'A' : 'B';
    if (kind === EventKind.load64) return [`${name} loads ${hex(newLo)}`];
    if (kind === EventKind.store64) return [`${name} stores ${hex(newLo)}`];
    if (kind === EventKind.retryWhen) return [`${name} waits while it is ${hex(oldLo)}`];
    if (kind !== EventKind.cas64) return [];
    return [
      oldLo === newLo
        ? `${name} fails to swap ${hex(oldLo)}`
        : `${name} swaps ${hex(oldLo)} for ${hex(newLo)}`,
    ];
  });
}

test('B6: one wins the entry; the other loses the swap, then meets the locked entry, then finds the page', () => {
  const lab = new Lab({ kvm: '6.12' });
  const [a, b] = [new Guest(lab, 0), new Guest(lab, 1)];
  // The tables are there: only the page is missing.
  drive(a.touch(IPA + PAGE, 'write'));
  drive(b.touch(IPA + PAGE, 'write'));
  const entry = lab.path(IPA).at(-1)?.at as number;
  const script = new Scripted([
    // Both have loaded the empty entry.
    upTo(0, EventKind.cas64, entry),
    upTo(1, EventKind.cas64, entry),
    // A has won, and is about to make.
    upTo(0, EventKind.store64, entry),
    // B loses, re-enters, faults again, and would for ever.
    { agent: 1, toEnd: true },
    { agent: 0, toEnd: true },
  ]);
  const faults: number[] = [];
  const events = lab.run(script, [
    function* runA() {
      faults[0] = yield* a.touch(IPA, 'write');
    },
    function* runB() {
      faults[1] = yield* b.touch(IPA, 'write');
    },
  ]);
  expect(story(events, entry)).toEqual([
    // The hardware walks of both, then the walks of their handlers.
    'A loads 0',
    'A loads 0',
    'B loads 0',
    'B loads 0',
    'A swaps 0 for 400',
    'B fails to swap 400',
    // B re-enters: hardware takes LOCKED as invalid, its handler as lost.
    'B loads 400',
    'B loads 400',
    'B waits while it is 400',
    'A stores 800017ff',
    'A loads 800017ff',
    'B loads 800017ff',
  ]);
  expect(faults).toEqual([1, 2]);
  expect([a.results.slice(1), b.results]).toEqual([['resume'], ['resume', 'resume']]);
  // One leaf, counted once; what the loser took from its cache and the host is given back.
  expect(lab.references(IPA)).toEqual([2, 2, 3]);
  expect(only(events, EventKind.tlbi)).toEqual([]);
  expect(lab.used('guest')).toBe(2);
  expect(drive(lab.world.memory.tables.count(lab.path(IPA).at(-1)?.table as never))).toBe(3);
  expect(lab.counter(1, STATISTICS.metLocked)).toBe(1);
  expect(lab.counter(1, STATISTICS.retried)).toBe(0);
});
