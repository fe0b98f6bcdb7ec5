import { stripTypeScriptTypes } from 'node:module';
import { posix } from 'node:path';
import { parse, tokTypes, type Token } from 'acorn';

/** A text of the repository; `path` is relative to its root, with forward slashes. */
export interface File {
  readonly path: string;
  readonly text: string;
}

/** What is wrong with a file, a line each; empty where it keeps the rule. */
export type Rule = (file: File) => readonly string[];

const LAYERS: readonly string[] = ['engine', 'locking', 'machine', 'pgtable', 'kvm', 'workers'];
const CORE: ReadonlySet<string> = new Set([...LAYERS.slice(1), 'check']);
const FOLDERS: ReadonlySet<string> = new Set([...LAYERS, 'check', 'explore', 'main']);

/** The folders that a folder of `src` may import, besides itself. */
function importable(folder: string): readonly string[] {
  if (folder === 'check') return ['engine'];
  if (folder === 'explore') return [...LAYERS, 'check'];
  return folder === 'main'
    ? [...LAYERS, 'check', 'explore']
    : LAYERS.slice(0, LAYERS.indexOf(folder));
}

/** The folder of `src` that a path lies in, or null. */
function folderOf(path: string): string | null {
  return /^src\/([^/]+)\//.exec(path)?.[1] ?? null;
}

/** Module names in imports of values and types, in re-exports and in `new URL(..., import.meta.url)`. */
function imports({ text }: File): readonly string[] {
  const pattern = /\b(?:from|import)\s*\(?\s*'([^']+)'|\bnew URL\(\s*'(\.[^']+)'/g;
  return Array.from(text.matchAll(pattern), ([, module, url]) => module ?? url ?? '');
}

/** An arrow between folders never runs back; `#port` is the engine. */
export const importDirection: Rule = (file) => {
  const folder = folderOf(file.path);
  if (folder === null) return [];
  const allowed = new Set([folder, ...importable(folder)]);
  return imports(file)
    .filter((module) => module.startsWith('.'))
    .map((module) => posix.join(posix.dirname(file.path), module))
    .filter((target) => target.startsWith('test/') || isClosed(target, allowed))
    .map((target) => `src/${folder} may not import ${target}`);
};

function isClosed(target: string, allowed: ReadonlySet<string>): boolean {
  const folder = folderOf(target);
  return folder !== null && FOLDERS.has(folder) && !allowed.has(folder);
}

/** The core and the checkers run in a browser: nothing from Node, but for the thread's own start. */
export const nodeImports: Rule = (file) => {
  if (!CORE.has(folderOf(file.path) ?? '')) return [];
  if (file.path === 'src/workers/thread-memory.ts') return [];
  return imports(file)
    .filter((module) => module.startsWith('node:'))
    .map((module) => `the core may not import ${module}`);
};

/** The replaced code is for the twin check and the profile that runs it (patch 18). */
const LEGACY_USERS = /^src\/(?:.+\/)?legacy\/|^src\/kvm\/(?:twin[^/]*|profile)\.ts$/;

/** Nothing else needs what the rewrite replaced. */
export const legacyUse: Rule = (file) => {
  if (folderOf(file.path) === null || LEGACY_USERS.test(file.path)) return [];
  return imports(file)
    .filter((module) => /(?:^|\/)legacy\//.test(module))
    .map((module) => `may not import ${module}`);
};

/** What the replaced code shares with the library: the engine, the format, and what a table is handed. */
const LEGACY_SHARES =
  /^#port$|^\.\/|^\.\.\/\.\.\/machine\/|^\.\.\/(?:mm-ops|outcome|pgtable|stage2-prot|hyp-prot)\.ts$/;

/** The replaced table code runs nothing of the library that it is compared with; types are free. */
export const legacyIndependence: Rule = (file) => {
  if (!file.path.startsWith('src/pgtable/legacy/')) return [];
  const text = file.text.replaceAll(/\b(?:import|export) type [^;]*;/g, '');
  return imports({ ...file, text })
    .filter((module) => !LEGACY_SHARES.test(module))
    .map((module) => `may not run ${module}`);
};

/** Code as its tokens with single blanks between, without types, comments and the content of texts. */
function tokens({ path, text }: File): string {
  const words: string[] = [];
  const javascript = path.endsWith('.ts') ? stripTypeScriptTypes(text) : text;
  const onToken = ({ type, start, end }: Token): void => {
    const isText = type === tokTypes.string || type === tokTypes.template;
    words.push(isText ? "''" : javascript.slice(start, end));
  };
  const allowHashBang = true;
  parse(javascript, { ecmaVersion: 'latest', sourceType: 'module', allowHashBang, onToken });
  return words.join(' ');
}

interface Ban {
  readonly name: string;
  readonly pattern: RegExp;
  readonly allowed: (path: string) => boolean;
}

const isMain = (path: string): boolean => !path.startsWith('src/') || path.startsWith('src/main/');
const isEngine = (path: string): boolean =>
  !path.startsWith('src/') || path.startsWith('src/engine/');
const isThreadPort = (path: string): boolean =>
  isMain(path) || path.startsWith('src/engine/threads');
const isWaiting = (path: string): boolean => isMain(path) || path === 'src/engine/wait.ts';

const bans: readonly Ban[] = [
  { name: 'Math.random', pattern: /\bMath \. random\b/, allowed: isMain },
  { name: 'Date', pattern: /(?<!\. )\bDate (?:\.|\()/, allowed: isMain },
  { name: 'performance', pattern: /(?<!\. )\bperformance \./, allowed: isThreadPort },
  { name: 'process', pattern: /(?<!\. )\bprocess \./, allowed: isMain },
  { name: 'a timer', pattern: /\bset(?:Timeout|Interval|Immediate) \(/, allowed: isWaiting },
  { name: 'console', pattern: /(?<!\. )\bconsole \./, allowed: isMain },
  { name: 'Atomics', pattern: /(?<!\. )\bAtomics\b/, allowed: isEngine },
  { name: '.only', pattern: /\b(?:test|describe|it) \. only\b/, allowed: () => false },
  { name: 'debugger', pattern: /\bdebugger ;/, allowed: () => false },
];

/** Clocks, randomness and the environment stay above the model, atomics below it, and no test runs alone. */
export const bannedCalls: Rule = (file) => {
  if (!/(?<!\.d)\.(?:ts|mjs|js)$/.test(file.path)) return [];
  const code = tokens(file);
  return bans
    .filter(({ pattern, allowed }) => !allowed(file.path) && pattern.test(code))
    .map(({ name }) => `${name} may not be used here`);
};

/** Notes to oneself belong into an issue. */
export const leftovers: Rule = ({ text }) =>
  Array.from(text.matchAll(/\b(?:TODO|FIXME|XXX|HACK)\b/g), ([word]) => `${word} is left over`);

const README_LINES_MAX = 60;

/** A folder's README is short and names every file beside it; `files` are all of the repository. */
export function folderReadme(folder: string, files: readonly File[]): readonly string[] {
  const readme = files.find(({ path }) => path === `${folder}/README.md`);
  if (readme === undefined) return [`${folder} has no README.md`];
  const lines = readme.text.split('\n').length - 1;
  const long = lines > README_LINES_MAX ? [`${readme.path} has ${lines} lines`] : [];
  const unnamed = files
    .filter(({ path }) => posix.dirname(path) === folder && path !== readme.path)
    .map(({ path }) => posix.basename(path))
    .filter((name) => !readme.text.includes(name));
  return [...long, ...unnamed.map((name) => `${readme.path} does not name ${name}`)];
}
