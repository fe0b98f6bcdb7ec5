import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { prestrip, stripModule } from '../../src/main/prestrip.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultline-prestrip-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A module nobody has stripped before. */
function fresh(name: string, code: string): URL {
  const path = join(folder, name);
  writeFileSync(path, `${code} // ${randomUUID()}\n`);
  return pathToFileURL(path);
}

type Manifest = Readonly<Record<string, string>>;

function manifest(url: URL): Manifest {
  return JSON.parse(readFileSync(url, 'utf8')) as Manifest;
}

function served(texts: Manifest, module: URL): string {
  return readFileSync(new URL(texts[module.href] ?? 'file:///missing'), 'utf8');
}

describe('a module', () => {
  const generator = 'function* f(a: number): Op<void> { yield* g(a); }';

  test.each(['kvm', 'locking', 'machine', 'pgtable', 'workers'])(
    'of core folder %s loses its generators and its types',
    (name) => {
      const stripped = stripModule(generator, `src/${name}/a.ts`);
      expect(stripped.replaceAll(/ +/g, ' ')).toBe('function f(a ) { g(a); }');
      expect(stripped).toHaveLength(generator.length);
    },
  );

  test.each(['src/engine/a.ts', 'src/explore/a.ts', 'src/main/workers/a.ts'])(
    'outside the core, %s, loses its types only',
    (path) => {
      expect(stripModule(generator, path)).toContain('function* f(a');
    },
  );

  test('of a test is core code where it delegates', () => {
    expect(stripModule(generator, 'test/ports/a.test.ts')).not.toContain('yield');
    expect(stripModule('async () => {};', 'test/ports/b.test.ts')).toBe('async () => {};');
  });

  test('of the core that leaves the dialect is refused by its name', () => {
    expect(() => stripModule('\nlet a: number;\n  await f();', 'src/kvm/a.ts')).toThrow(
      'src/kvm/a.ts:3:3: await is not part of the core dialect',
    );
  });
});

const DAY_MS = 24 * 3600 * 1000;

const days = (url: URL): number => (Date.now() - statSync(url).mtimeMs) / DAY_MS;

function makeOld(url: URL, age: number): void {
  const then = (Date.now() - age * DAY_MS) / 1000;
  utimesSync(url, then, then);
}

describe('the manifest', () => {
  test('holds what a worker may load, the files beside its entry included', () => {
    const entry = fresh('entry.ts', 'export const a: number = 1;');
    const beside = fresh('beside.ts', 'export function* b() { yield* c(); }');
    const skipped = fresh('entry.test.ts', 'export {};');
    const texts = manifest(prestrip(entry));
    expect(served(texts, entry)).toContain('export const a         = 1;');
    expect(served(texts, beside)).toContain('export function  b() {        c(); }');
    expect(Object.keys(texts)).not.toContain(skipped.href);
    expect(Object.keys(texts).filter((url) => url.endsWith('/src/engine/port.ts'))).toHaveLength(1);
    expect(Object.keys(texts).filter((url) => /\.d\.ts$|\/src\/main\//.test(url))).toEqual([]);
  });

  test('changes with the text of a module', () => {
    const before = prestrip(fresh('entry.ts', 'export {};'));
    const after = prestrip(fresh('entry.ts', 'export {};'));
    expect(after.href).not.toBe(before.href);
  });

  test('is kept for thirty days after its last use, as texts are', () => {
    const entry = fresh('entry.ts', 'export {};');
    const first = prestrip(entry);
    const stripped = new URL(manifest(first)[entry.href] ?? '');
    const draft = new URL(`${first.href}.draft`);
    for (const age of [14, 29]) {
      writeFileSync(draft, '');
      for (const url of [first, stripped]) makeOld(url, age);
      makeOld(draft, age + 2);
      expect(prestrip(entry).href).toBe(first.href);
      expect([days(first), days(stripped)].map(Math.round)).toEqual(age === 14 ? [14, 14] : [0, 0]);
      expect(existsSync(draft)).toBe(age === 14);
    }
  });

  test('is whole when several processes write it at once', async () => {
    const entry = fresh('entry.ts', 'export {};');
    const program = fresh(
      'program.mjs',
      `import { prestrip } from ${JSON.stringify(new URL('../../src/main/prestrip.ts', import.meta.url).href)};
       process.stdout.write(prestrip(new URL(${JSON.stringify(entry.href)})).href);`,
    );
    const found = await Promise.all(
      [1, 2, 3].map(async () => {
        const child = spawn(process.execPath, [fileURLToPath(program)], { stdio: 'pipe' });
        const [stdout, stderr, [status]] = await Promise.all([
          text(child.stdout),
          text(child.stderr),
          once(child, 'exit') as Promise<[number]>,
        ]);
        return { stdout, stderr, status };
      }),
    );
    const url = prestrip(entry);
    const same = { stdout: url.href, stderr: '', status: 0 };
    expect(found).toEqual([same, same, same]);
    expect(served(manifest(url), entry)).toMatch(/^export \{\};/);
    const drafts = readdirSync(new URL('.', url)).filter((name) =>
      name.includes(`${url.href.split('/').at(-1)}.`),
    );
    expect(drafts).toEqual([]);
  });
});
