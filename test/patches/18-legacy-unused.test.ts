/** Patch 18: the code that the rewrite replaced is used by nothing but the twin check and the profile that runs it. */
import { readFileSync, readdirSync } from 'node:fs';
import { sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { legacyIndependence, legacyUse, type File } from '../tidy-rules.ts';

const files: readonly File[] = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .map((name) => `src/${name}`.replaceAll(sep, '/'))
  .filter((path) => path.endsWith('.ts'))
  .map((path) => ({ path, text: readFileSync(path, 'utf8') }));

const LEGACY = 'src/pgtable/legacy/';

test('nothing else imports it', () => {
  expect(files.filter(({ path }) => path.startsWith(LEGACY)).length).toBeGreaterThan(5);
  const found = files.flatMap((file) => legacyUse(file).map((what) => `${file.path} ${what}`));
  expect(found).toEqual([]);
});

test('it runs nothing of the library that it is compared with', () => {
  const found = files.flatMap((file) =>
    legacyIndependence(file).map((what) => `${file.path} ${what}`),
  );
  expect(found).toEqual([]);
});

describe('a use', () => {
  const uses = [
    "import { legacyUnmap } from '../pgtable/legacy/unmap.ts';",
    "import type { LegacyFault } from '../pgtable/legacy/fault.ts';",
    "export { legacyUnmap } from './legacy/unmap.ts';",
    "const unmap = await import('../pgtable/legacy/unmap.ts');",
  ];

  test.each(uses)('%s is found', (text) => {
    for (const path of ['src/kvm/range.ts', 'src/main/run.ts', 'src/kvm/profiles.ts'])
      expect(legacyUse({ path, text })).toHaveLength(1);
  });

  test.each([
    'src/kvm/twin.ts',
    'src/kvm/twin-replay.ts',
    'src/kvm/profile.ts',
    'src/kvm/legacy/a.ts',
  ])('is for %s', (path) => {
    for (const text of uses) expect(legacyUse({ path, text })).toEqual([]);
  });
});

describe('of the library', () => {
  const path = `${LEGACY}a.ts`;

  test.each(['walker', 'entry', 'leaf-fit', 'table-removal', 'stage2-map', 'hyp', 'get-leaf'])(
    '%s is not shared',
    (name) => {
      const text = `import { a } from '../${name}.ts';`;
      expect(legacyIndependence({ path, text })).toHaveLength(1);
      const types = `import type { A } from '../${name}.ts';`;
      expect(legacyIndependence({ path, text: types })).toEqual([]);
    },
  );
});
