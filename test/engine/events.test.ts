import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventDigest, EventKind, RECORD } from '../../src/engine/events.ts';

function digestOf(...records: readonly (readonly number[])[]): string {
  const digest = new EventDigest();
  for (const record of records) digest.onEvent(Int32Array.from(record));
  return digest.hex();
}

const record = fc.array(fc.integer(), { minLength: RECORD.words, maxLength: RECORD.words });
const seeded = { seed: 3, numRuns: 300 } as const;

describe('a digest', () => {
  test('is what it always was', () => {
    expect(digestOf()).toBe('243f6a8885a308d3');
    expect(digestOf([1, 2, 3, 4, 5, 6, 7, 8])).toBe('b95109db46fa6c8e');
    expect(digestOf([1, 2, 3, 4, 5, 6, 7, 8], [2, 65_537, -1, 0, 0, 0, 0, 3])).toBe(
      'a32a9062ee931f44',
    );
  });

  test('sees every field of a record', () => {
    fc.assert(
      fc.property(record, fc.nat(RECORD.words - 1), fc.integer(), (before, field, change) => {
        const after = before.with(field, change);
        expect(digestOf(after) === digestOf(before)).toBe(change === before[field]);
      }),
      seeded,
    );
  });

  test('sees the order of events', () => {
    fc.assert(
      fc.property(record, record, (a, b) => {
        fc.pre(a.some((word, i) => word !== b[i]));
        expect(digestOf(a, b)).not.toBe(digestOf(b, a));
      }),
      seeded,
    );
  });

  test('has both halves of each digest depend on the events', () => {
    const digests = Array.from({ length: 1000 }, (_, i) => digestOf([i, 0, 0, 0, 0, 0, 0, 0]));
    expect(new Set(digests.map((digest) => digest.slice(0, 8))).size).toBe(1000);
    expect(new Set(digests.map((digest) => digest.slice(8))).size).toBe(1000);
    for (const digest of digests) expect(digest).toMatch(/^[0-9a-f]{16}$/);
  });
});

describe('kinds and fields', () => {
  test('no two kinds share a number, and all fit their half word', () => {
    const kinds = Object.values(EventKind);
    expect(new Set(kinds).size).toBe(kinds.length);
    for (const kind of kinds) expect(kind).toBe(kind & 0xffff);
  });

  test('a record is eight words', () => {
    const { words, ...fields } = RECORD;
    expect(words).toBe(8);
    expect(Object.values(fields)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});
