import { readFileSync, readdirSync } from 'node:fs';
import { dirname, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  bannedCalls,
  folderReadme,
  importDirection,
  leftovers,
  nodeImports,
  type File,
  type Rule,
} from './tidy-rules.ts';

/** The repository's own texts; this test plants what the rules look for and is left out. */
const files: readonly File[] = ['src', 'test', 'bin', 'scripts'].flatMap((folder) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => `${folder}/${name}`.replaceAll(sep, '/'))
    .filter((path) => /\.(?:ts|mjs|js|md|wat)$/.test(path) && !path.startsWith('test/tidy'))
    .map((path) => ({ path, text: readFileSync(path, 'utf8') })),
);

const folders = new Set(
  files.map(({ path }) => dirname(path)).filter((folder) => folder.startsWith('src/')),
);

describe('the repository', () => {
  test.each([
    ['imports run in one direction', importDirection],
    ['the core imports nothing of Node', nodeImports],
    ['no banned call', bannedCalls],
    ['no leftovers', leftovers],
  ] as const)('%s', (_name, rule) => {
    const found = files.flatMap((file) => rule(file).map((what) => `${file.path}: ${what}`));
    expect(found).toEqual([]);
  });

  test.each([...folders])('%s introduces itself', (folder) => {
    expect(folderReadme(folder, files)).toEqual([]);
  });

  test('has files to look at', () => {
    expect(files.map(({ path }) => path)).toContain('src/engine/strip.ts');
  });
});

/** A planted text with the rule that has to find it, and a text that has to pass. */
interface Planted {
  readonly rule: Rule;
  readonly path: string;
  readonly bad: string;
  readonly good: string;
}

const planted: readonly Planted[] = [
  {
    rule: importDirection,
    path: 'src/engine/a.ts',
    bad: "import { Lock } from '../locking/lock.ts';",
    good: "import { load64 } from './port.ts';",
  },
  {
    rule: importDirection,
    path: 'src/pgtable/a.ts',
    bad: "import type { Vm } from '../kvm/vm.ts';",
    good: "import { load64 } from '#port'; import type { Ipa } from '../machine/address.ts';",
  },
  {
    rule: importDirection,
    path: 'src/pgtable/deep/a.ts',
    bad: "export { vm } from '../../kvm/vm.ts';",
    good: "export { walk } from '../walk.ts';",
  },
  {
    rule: importDirection,
    path: 'src/workers/a.ts',
    bad: "const run = await import('../main/run.ts');",
    good: "const vm = await import('../kvm/vm.ts');",
  },
  {
    rule: importDirection,
    path: 'src/explore/a.ts',
    bad: "const url = new URL('../main/cli.ts', import.meta.url);",
    good: "const url = new URL('../workers/vcpu.ts', import.meta.url);",
  },
  {
    rule: importDirection,
    path: 'src/check/a.ts',
    bad: "import { walk } from '../pgtable/walk.ts';",
    good: "import type { Event } from '../engine/events.ts';",
  },
  {
    rule: importDirection,
    path: 'src/main/a.ts',
    bad: "import { plant } from '../../test/plant.ts';",
    good: "import { check } from '../check/a.ts'; import { explore } from '../explore/a.ts';",
  },
  {
    rule: nodeImports,
    path: 'src/kvm/a.ts',
    bad: "import { readFileSync } from 'node:fs';",
    good: "import { load64 } from '#port';",
  },
  {
    rule: nodeImports,
    path: 'src/check/a.ts',
    bad: "import 'node:fs';",
    good: "import './b.ts';",
  },
  {
    rule: bannedCalls,
    path: 'src/workers/a.ts',
    bad: 'const draw: number = Math.random();',
    good: 'const draw: number = Math.max(1, 2); // not Math.random()',
  },
  {
    rule: bannedCalls,
    path: 'src/kvm/a.ts',
    bad: 'const at = Date.now();',
    good: "const at = 'Date.now()'; birth.Date.now();",
  },
  {
    rule: bannedCalls,
    path: 'src/kvm/a.ts',
    bad: 'const at = new Date();',
    good: 'let at: Date | null = null;',
  },
  {
    rule: bannedCalls,
    path: 'src/engine/explore.ts',
    bad: 'const at = performance.now();',
    good: 'const at = this.performance.now();',
  },
  {
    rule: bannedCalls,
    path: 'src/engine/port.ts',
    bad: "const debug = process.env['DEBUG'];",
    good: 'const done = this.process.env;',
  },
  {
    rule: bannedCalls,
    path: 'src/locking/a.ts',
    bad: 'setTimeout(() => undefined, 1);',
    good: 'setTimeouts(() => undefined, 1);',
  },
  {
    rule: bannedCalls,
    path: 'src/locking/a.ts',
    bad: 'Atomics.wait(words, 0, 0);',
    good: '/** Stands for `Atomics.wait`. */ wait(0, 0);',
  },
  {
    rule: bannedCalls,
    path: 'src/check/a.ts',
    bad: 'console.log(1);',
    good: 'log(`console.log(${1})`);',
  },
  {
    rule: bannedCalls,
    path: 'test/a.test.ts',
    bad: "test.only('one', () => undefined);",
    good: "test('one', () => undefined); // test.only(",
  },
  {
    rule: bannedCalls,
    path: 'bin/faultline.js',
    bad: '#!/usr/bin/env node\ndebugger;',
    good: '#!/usr/bin/env node\nrun();',
  },
  {
    rule: leftovers,
    path: 'src/kvm/README.md',
    bad: 'TODO: say more',
    good: 'what is to do next',
  },
];

describe('each rule', () => {
  test.each(planted)('finds $bad in $path', ({ rule, path, bad, good }) => {
    expect(rule({ path, text: bad })).toHaveLength(1);
    expect(rule({ path, text: good })).toEqual([]);
  });

  test.each([
    ['src/main/a.ts', 'Date.now(); Math.random(); process.exit(0); console.log(1);'],
    ['src/engine/threads.ts', 'performance.now(); Atomics.load(words, 0);'],
    ['src/engine/wait.ts', 'setTimeout(then, ms);'],
    ['test/a.test.ts', 'Date.now(); Atomics.load(words, 0);'],
    ['src/engine/op.d.ts', 'declare const at: number;'],
  ])('lets %s use what it is for', (path, text) => {
    expect(bannedCalls({ path, text })).toEqual([]);
  });

  test('lets the start of a thread talk to Node', () => {
    const text = "import { workerData } from 'node:worker_threads';";
    expect(nodeImports({ path: 'src/workers/thread-memory.ts', text })).toEqual([]);
  });
});

const walk: File = { path: 'src/pgtable/walk.ts', text: '' };
const readme = (text: string): File => ({ path: 'src/pgtable/README.md', text });

describe('a folder', () => {
  test('needs a README', () => {
    expect(folderReadme('src/pgtable', [walk])).toEqual(['src/pgtable has no README.md']);
  });

  test('names each of its files there', () => {
    expect(folderReadme('src/pgtable', [walk, readme('walk.ts: the walker\n')])).toEqual([]);
    expect(folderReadme('src/pgtable', [walk, readme('the walker\n')])).toEqual([
      'src/pgtable/README.md does not name walk.ts',
    ]);
  });

  test('keeps it under a page', () => {
    expect(folderReadme('src/pgtable', [readme('line\n'.repeat(60))])).toEqual([]);
    expect(folderReadme('src/pgtable', [readme('line\n'.repeat(61))])).toEqual([
      'src/pgtable/README.md has 61 lines',
    ]);
  });
});
