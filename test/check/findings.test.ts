/** What a finding says besides its verdict, and that executions have nothing to do with one another. */
import { expect, test } from 'vitest';
import { CheckerLab, EMPTY, LOCKED, R, RW, entryAt, leaf } from './lab.ts';

const LEAF = entryAt(1, 7);
const IPA = 7 * 4096;

/** A leaf is made, used by CPU 1, taken away without a flush, and replaced. */
function replaceCached(lab: CheckerLab): void {
  lab.lock(0);
  lab.store(0, LEAF, leaf(1, R));
  lab.count(1, 2);
  lab.enter(1);
  lab.tlb('fill', 1, IPA, leaf(1, R));
  lab.tlb('use', 1, IPA, leaf(1, R));
  lab.tlb('use', 1, IPA + 4096, leaf(9, R));
  lab.store(0, LEAF, EMPTY);
  lab.lock(2, 'shared');
  lab.store(2, LEAF, leaf(2, R));
}

test('names the entry, both participants, what they hold, and the last events on the entry', () => {
  const lab = new CheckerLab('store');
  replaceCached(lab);
  expect(lab.findings.find(({ verdict }) => verdict === 'break-before-make')).toEqual({
    verdict: 'break-before-make',
    message:
      'agent 2 made 0x80002443 (valid) for IPA 0x7000 while 0x80001443 (valid) of IPA 0x7000, broken by agent 0, may be cached (stored)',
    context: [
      'agent 2 holds mmu_lock (read)',
      'agent 0 holds mmu_lock',
      'event 6: agent 1 cached 0x80001443 (valid)',
      'event 7: agent 1 used 0x80001443 (valid)',
      'event 9: agent 0 stored 0x0 (invalid) over 0x80001443 (valid)',
      'event 11: agent 2 stored 0x80002443 (valid) over 0x0 (invalid)',
    ],
  });
});

test('a lock without a name is told by its place, and nothing held is said', () => {
  const lab = new CheckerLab();
  lab.section(1, 'begin');
  lab.store(1, LEAF, leaf(1, R));
  expect(lab.findings[0]?.context[0]).toBe('agent 1 holds the lock at 0x300 (read)');
  lab.reset();
  lab.store(1, LEAF, leaf(1, R));
  expect(lab.findings[0]?.context[0]).toBe('agent 1 holds nothing');
});

test('a verdict is told once, by the first thing that deserved it', () => {
  const lab = new CheckerLab();
  lab.store(1, LEAF, leaf(1, R));
  lab.store(2, LEAF, leaf(1, RW));
  expect(lab.findings.map(({ message }) => message)).toEqual([
    'agent 1 stored 0x80001443 (valid) for IPA 0x7000 without mmu_lock',
  ]);
});

test('after a reset nothing is left of an execution', () => {
  const lab = new CheckerLab('store');
  replaceCached(lab);
  lab.reset();
  expect(lab.findings).toEqual([]);
  // Everything that the models could remember: who holds the lock, what is cached, what the table has, who is in the guest.
  lab.tlb('use', 1, IPA, leaf(3, R));
  lab.lock(3);
  lab.store(3, LEAF, leaf(3, R));
  lab.count(1, 2);
  lab.unlock(3);
  expect(lab.verdicts).toEqual([]);
  lab.store(3, LEAF, leaf(3, RW));
  expect(lab.findings[0]?.context).toEqual([
    'agent 3 holds nothing',
    'event 2: agent 1 used 0x80003443 (valid)',
    'event 4: agent 3 stored 0x80003443 (valid) over 0x0 (invalid)',
    'event 7: agent 3 stored 0x800034c3 (valid) over 0x80003443 (valid)',
  ]);
});

test('nor of a count that was not looked at, a LOCKED entry, or a leaf', () => {
  const lab = new CheckerLab();
  lab.lock(0);
  lab.store(0, entryAt(1, 8), leaf(1, R));
  lab.swap(0, LEAF, LOCKED);
  lab.reset();
  lab.lock(1);
  lab.store(1, LEAF, leaf(1, R));
  lab.count(1, 2);
  lab.unlock(1);
  expect(lab.verdicts).toEqual([]);
  lab.enter(1);
  lab.tlb('use', 1, IPA + 4096, leaf(1, R));
  expect(lab.verdicts).toEqual(['stale-tlb']);
});
