import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { countLines, lineCountTable, withLineCounts } from '../../scripts/line-count-table.ts';

const architecture = readFileSync(new URL('../../ARCHITECTURE.md', import.meta.url), 'utf8');

describe('the line counts of ARCHITECTURE.md', () => {
  test('are those of the code', () => {
    expect(withLineCounts(architecture)).toBe(architecture);
  });

  test('are noticed when they are stale', () => {
    const stale = architecture.replace('| used by both |', '| used by some |');
    expect(stale).not.toBe(architecture);
    expect(withLineCounts(stale)).toBe(architecture);
  });

  test('need their markers', () => {
    expect(() => withLineCounts('text')).toThrow('no markers');
  });

  test('count every part', () => {
    const rows = lineCountTable().split('\n').slice(2, -1);
    expect(rows).toHaveLength(5);
    for (const row of rows) expect(row).not.toContain('| 0 |');
  });
});

test.each([
  ['nothing', '', 0, 0],
  ['code', 'a;\nb;\n', 2, 2],
  ['blank lines', 'a;\n\n  \nb;\n', 2, 4],
  ['comments of a line', '// a\na; // b\n', 1, 2],
  ['comments in between', '/** a */\na;\n  /* b\n\n * c\n   */\nb;\n', 2, 7],
  ['a comment within code', 'a; /* b */\n', 1, 1],
])('%s', (_, text, code, lines) => {
  expect(countLines(text)).toEqual({ code, lines });
});
