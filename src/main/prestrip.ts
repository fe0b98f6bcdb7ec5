/**
 * Strips, in a checkout, every module that a worker may load: once per content, on the main thread, into `node_modules/.cache`.
 *
 * A stripper in each worker would cost 50 ms and over 10 MiB per worker. Several processes may write the cache at once: a text's name
 * is the hash of what it is made from, and it appears by a rename.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { strip } from '../engine/strip.ts';

const ROOT = new URL('../../', import.meta.url);
const CACHE = new URL('node_modules/.cache/faultline/', ROOT);
/** Folders of `src` that hold core code, written as generators. */
export const CORE: readonly string[] = ['kvm', 'locking', 'machine', 'pgtable', 'workers'];
/** Folders of `src` that a worker may load. */
export const LOADABLE: readonly string[] = ['engine', ...CORE];

/**
 * TypeScript as the JavaScript that a worker runs, with unchanged positions: free of types, and of generators where it is core code (by
 * its folder) or test code that delegates to it. `path` is relative to the checkout. Throws `DialectError` when core code leaves the
 * dialect.
 */
export function stripModule(text: string, path: string): string {
  const javascript = withoutTypes(text);
  return isCore(path, text) ? strip(javascript, path) : javascript;
}

/** Node calls its stripper experimental, once per process; the pinned version makes that no news to a user. */
function withoutTypes(text: string): string {
  const warn = Object.getOwnPropertyDescriptor(process, 'emitWarning');
  process.emitWarning = () => undefined;
  try {
    return stripTypeScriptTypes(text);
  } finally {
    if (warn) Object.defineProperty(process, 'emitWarning', warn);
  }
}

function isCore(path: string, text: string): boolean {
  const [top, folder = ''] = path.split(sep);
  return top === 'src' ? CORE.includes(folder) : /\byield\b/.test(text);
}

/** A module's path relative to the checkout, as errors show it. */
export function shortPath(path: string): string {
  return relative(fileURLToPath(ROOT), path);
}

/**
 * Fills the cache and returns the URL of a manifest for `threads-hook.mjs`. Besides the loadable folders of `src` it holds the
 * TypeScript files beside `entry`, tests excepted, where a test brings its own worker.
 */
export function prestrip(entry: URL): URL {
  mkdirSync(CACHE, { recursive: true });
  const folders = LOADABLE.map((folder) => new URL(`src/${folder}/`, ROOT));
  const modules = new Set([...folders, new URL('.', entry)].flatMap(typescriptIn));
  const texts = Array.from(modules, (path) => [pathToFileURL(path).href, cachedText(path)]);
  const manifest = JSON.stringify(Object.fromEntries(texts));
  return store(`${hash(manifest)}.json`, () => manifest);
}

function typescriptIn(folder: URL): readonly string[] {
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return found
    .filter((name) => /(?<!\.d|\.test)\.ts$/.test(name))
    .map((name) => fileURLToPath(new URL(name, folder)))
    .toSorted();
}

function cachedText(path: string): string {
  const text = readFileSync(path, 'utf8');
  const short = shortPath(path);
  const name = `${hash(STRIPPERS, short, text)}.mjs`;
  return store(name, () => stripModule(text, short)).href;
}

/** What a stripped text depends on besides the module: this Node's type stripper and our own code. */
const STRIPPERS: string = hash(
  process.version,
  ...['main/prestrip.ts', 'engine/strip.ts', 'engine/dialect.ts'].map((file) =>
    readFileSync(new URL(`src/${file}`, ROOT), 'utf8'),
  ),
);

function store(name: string, text: () => string): URL {
  const file = new URL(name, CACHE);
  if (statSync(file, { throwIfNoEntry: false })) return file;
  const draft = new URL(`${name}.${randomUUID()}`, CACHE);
  writeFileSync(draft, text());
  renameSync(draft, file);
  return file;
}

function hash(...parts: readonly string[]): string {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(`${part.length}:${part}`);
  return digest.digest('hex').slice(0, 32);
}
