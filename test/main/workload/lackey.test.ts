import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { accessKinds, parseLackey, readLackey } from '../../../src/main/workload/lackey.ts';
import { UserError } from '../../../src/main/user-error.ts';

const sample = fileURLToPath(new URL('../../../workloads/data/true.lackey.gz', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'lackey-'));

function accesses(text: string, max?: number): string[] {
  const { pages, kinds } = parseLackey('t', text, max);
  return [...pages].map((page, i) => `${accessKinds[kinds[i] ?? -1]} ${page.toString(16)}`);
}

function file(name: string, bytes: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** What reading it says: nothing or a line. Throws anything but a UserError. */
function complaintOf(text: string): string {
  try {
    parseLackey('t', text);
    return '';
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

describe('parseLackey', () => {
  test('reads fetches, loads, stores and modifies in order, and skips chatter', () => {
    const text =
      '==1== Lackey\nI  0401ab70,3\n L 1fff000768,8\n--1-- noise\n S 00001000,4\n M 00002FFF,1\n\n==1== bye\n';
    expect(accesses(text)).toEqual(['exec 401a', 'read 1fff000', 'write 1', 'read 2', 'write 2']);
  });

  test('touches both pages of an access across a boundary, and only then', () => {
    expect(accesses('I  00001ffe,2\nI  00001fff,2\n M 00003ffc,8\n')).toEqual([
      'exec 1',
      'exec 1',
      'exec 2',
      'read 3',
      'read 4',
      'write 3',
      'write 4',
    ]);
  });

  test('takes no more accesses than asked for, not even half an access more', () => {
    expect(accesses('I  00001fff,2\n', 1)).toEqual(['exec 1']);
    expect(accesses('I  00001000,2\nnonsense after the cut\n', 1)).toEqual(['exec 1']);
  });

  test('remembers the first line of each page', () => {
    const { firstLine } = parseLackey('t', '==1==\nI  00001000,1\n L 00001fff,2\nI  00002000,1\n');
    expect([...firstLine]).toEqual([
      [1, 2],
      [2, 3],
    ]);
  });

  test.each([
    ['X  00001000,1', 't:1: not a line of a lackey trace: "X  00001000,1"'],
    ['I  00001000', 't:1: not a line of a lackey trace: "I  00001000"'],
    ['I 00001000,1', 't:1: not a line of a lackey trace: "I 00001000,1"'],
    [' L zz,1', 't:1: not a line of a lackey trace: " L zz,1"'],
    ['I  00001000,1\n S 00001000,0', 't:2: an access of 0 bytes: expected 1 to 4096'],
    ['I  00001000,4097', 't:1: an access of 4097 bytes: expected 1 to 4096'],
    [
      ' L ffffffffffffffff,1',
      't:1: address 0xffffffffffffffff is above the 44 bits that a trace may use',
    ],
    [' L fffffffffff,2', 't:1: address 0xfffffffffff is above the 44 bits that a trace may use'],
    ['==1== only chatter\n', 't: no memory access in it'],
    ['', 't: no memory access in it'],
  ])('refuses %j', (text, message) => {
    expect(() => parseLackey('t', text)).toThrow(new UserError(message));
  });

  test('takes the last byte of the 44 bits', () => {
    expect(accesses(' L fffffffffff,1')).toEqual(['read ffffffff']);
  });

  test('throws nothing but a UserError of one line, whatever it reads', () => {
    const line = fc.oneof(
      fc.string(),
      fc
        .tuple(fc.constantFrom('I ', ' L', ' S', ' M', '==', 'I'), fc.string(), fc.string())
        .map(([op, a, b]) => `${op} ${a},${b}`),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        expect(complaintOf(lines.join('\n'))).not.toMatch(/[\n\r]/u);
      }),
    );
  });
});

describe('readLackey', () => {
  test('reads the sample that comes with the package', () => {
    const { pages, kinds, firstLine } = readLackey(sample);
    expect(pages.length).toBe(kinds.length);
    expect(Math.min(...firstLine.keys())).toBe(0x108);
    expect(Math.max(...firstLine.keys())).toBe(0x1fff000);
    // Counted with grep: 127743 fetches, 27889 loads, 10266 stores, 1504 modifies; the rest crosses a page boundary.
    expect(pages.length).toBeGreaterThanOrEqual(127_743 + 27_889 + 10_266 + 2 * 1504);
  });

  test('reads plain text as well as gzip', () => {
    const text = 'I  00001000,1\n';
    expect(readLackey(file('plain', text))).toEqual(readLackey(file('packed.gz', gzipSync(text))));
  });

  test('names a file that is cut short, damaged, empty or not there', () => {
    const packed = gzipSync('I  00001000,1\n'.repeat(100));
    const cut = file('cut.gz', packed.subarray(0, 30));
    expect(() => readLackey(cut)).toThrow(
      new UserError(`${cut}: a truncated or damaged gzip file (unexpected end of file)`),
    );
    const damaged = file('damaged.gz', Uint8Array.from([0x1f, 0x8b, 1, 2, 3]));
    expect(() => readLackey(damaged)).toThrow(`${damaged}: a truncated or damaged gzip file (`);
    const empty = file('empty', '');
    expect(() => readLackey(empty)).toThrow(new UserError(`${empty}: the file is empty`));
    expect(() => readLackey(join(folder, 'no'))).toThrow(
      new UserError(`${join(folder, 'no')}: no such file`),
    );
  });
});
