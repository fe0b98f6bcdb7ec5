import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { UserError } from '../../../src/main/user-error.ts';
import { loadWorkload } from '../../../src/main/workload/workload.ts';

const path = join(mkdtempSync(join(tmpdir(), 'workload-fuzz-')), 'w.yaml');
writeFileSync(join(dirname(path), 't'), 'I  00000ffe,8\n S 00001000,8\n');

/** What loading it says on either engine: nothing, or one line that begins with the name of a file. Throws anything else. */
function complaints(bytes: string | Uint8Array): string[] {
  writeFileSync(path, bytes);
  return [false, true].flatMap((explore) => {
    try {
      loadWorkload(path, { explore });
      return [];
    } catch (error) {
      if (error instanceof UserError) return [error.message];
      throw error;
    }
  });
}

function loadsOrComplains(bytes: string | Uint8Array): void {
  for (const message of complaints(bytes)) {
    // A trace may have any name: then it is that file that is named.
    expect(message).toMatch(/^\/.*: \S/u);
    expect(message).not.toMatch(/[\n\r]/u);
  }
}

const seed = `name: sample
description: d
vcpus: 2
machine: { granule: 4K, memory: 128K }
vm: { ipaBits: 40, contents: page }
slots: [{ name: ram, base: 0x40000000, size: 64K, logging: true }, { name: own, base: 0, size: 8K, perVcpu: 64K }]
setup: [{ name: b, guest: { pattern: strided, stride: 2, slot: ram, region: partitioned, touches: 9, writes: 0.5 } }]
rounds:
  - { name: a, guest: { pattern: zipf, exponent: 1 }, hosts: [{ action: write-protect, times: until-done }] }
  - { name: t, guest: { trace: t, perVcpu: 64K } }
repeat: 2
explore: { size: 16K, touches: 5, vcpus: 1, repeat: 1 }
`;

test('the workload that the others are made from is valid', () => {
  expect(complaints(seed)).toEqual([]);
});

const odd = fc.oneof(
  fc.constantFrom<unknown>(
    0,
    -1,
    1e30,
    Number.NaN,
    null,
    true,
    '',
    '4K',
    '1T',
    '0x',
    2 ** 53,
    {},
    [],
    '__proto__',
    'page',
    'discard',
  ),
  fc.jsonValue(),
);

test('arbitrary text', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' })),
      loadsOrComplains,
    ),
    { numRuns: 100 },
  );
});

test('arbitrary bytes', () => {
  fc.assert(fc.property(fc.uint8Array(), loadsOrComplains), { numRuns: 100 });
});

test('a workload with text cut out and put in', () => {
  const insertion = fc.oneof(
    fc.string(),
    fc.constantFrom(
      '&a ',
      '*a',
      '[',
      '}',
      '? ',
      '!!map ',
      ': ',
      '- ',
      '\t',
      '"',
      '|',
      '%',
      '---\n',
      '<<: ',
    ),
  );
  fc.assert(
    fc.property(fc.nat(seed.length), fc.nat(20), insertion, (at, length, text) => {
      loadsOrComplains(seed.slice(0, at) + text + seed.slice(at + length));
    }),
    { numRuns: 100 },
  );
});

/** A place in a document: the keys and indexes from the root, each taken modulo what is there. */
const place = fc.array(fc.nat(20), { minLength: 1, maxLength: 5 });

/** Replaces, removes or adds a value at a place of a plain document, in place. */
function change(document: unknown, [first = 0, ...rest]: readonly number[], value: unknown): void {
  if (document === null || typeof document !== 'object') return;
  const object = document as Record<string, unknown>;
  const keys = Object.keys(object);
  const key = keys[first % (keys.length + 1)] ?? 'extra';
  if (rest.length > 0 && typeof object[key] === 'object') change(object[key], rest, value);
  else if (value === undefined) Reflect.deleteProperty(object, key);
  else object[key] = value;
}

test('a workload with a few values replaced, removed or added', () => {
  const changes = fc.array(fc.tuple(place, fc.oneof(odd, fc.constant(undefined))), {
    minLength: 1,
    maxLength: 3,
  });
  fc.assert(
    fc.property(changes, (list) => {
      const document: unknown = parse(seed);
      for (const [where, value] of list) change(document, where, value);
      loadsOrComplains(stringify(document));
    }),
    { numRuns: 100 },
  );
});

test('a workload whose numbers are other numbers', () => {
  const numbers = seed.match(/\b\d[\da-fx.]*\b/gu) ?? [];
  const number = fc.oneof(
    fc.nat(600),
    fc.constantFrom(0, 1, 4096, 8192, 65_536, 2 ** 20, 2 ** 32, 2 ** 39, 2 ** 40, 2 ** 48),
    fc.double(),
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(numbers.length - 1), number), { maxLength: 2 }),
      (list) => {
        const byIndex = new Map(list);
        let index = -1;
        loadsOrComplains(
          seed.replaceAll(/\b\d[\da-fx.]*\b/gu, (text) => {
            index += 1;
            return String(byIndex.get(index) ?? text);
          }),
        );
      },
    ),
    { numRuns: 100 },
  );
});
