import { expect, test } from 'vitest';
import { Dpor } from '../../src/explore/dpor.ts';
import { prefixesOf } from '../../src/explore/splitter.ts';
import { exploreAll, installSubject } from './subjects.ts';

test.each([
  { threads: 2, faults: 1, parts: 2, traces: 48 },
  { threads: 2, faults: 1, parts: 16, traces: 48 },
  { threads: 2, faults: 1, parts: 1000, traces: 48 },
  { threads: 2, faults: 2, parts: 16, traces: 384 },
  { threads: 3, faults: 1, parts: 64, traces: 1584 },
])(
  '$threads threads, $faults faults: every trace in one of at least $parts prefixes',
  ({ threads, faults, parts, traces }) => {
    const subject = installSubject(threads, faults);
    const prefixes = prefixesOf(subject, parts);
    const found = prefixes.map(
      (prefix) => exploreAll(subject, () => new Dpor(subject, prefix)).explorer.traces,
    );
    expect(new Set(found.flatMap((of) => [...of.keys()])).size).toBe(traces);
    expect(found.reduce((sum, { size }) => sum + size, 0)).toBe(traces);
    // An execution that ends before it is divided further is a prefix of its own.
    expect(prefixes.length).toBeGreaterThanOrEqual(Math.min(parts, traces));
  },
);
