/**
 * Strips every module that a worker may load from the sources: once per content, on the main thread, into `node_modules/.cache`, or,
 * where that cannot be written, into a folder that lasts as long as the process.
 *
 * A stripper in each worker would cost 50 ms and over 10 MiB per worker. Several processes may write the cache at once: a text's name
 * is the hash of what it is made from, and it appears by a rename. What nobody uses for thirty days is removed.
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { strip } from '../engine/strip.ts';
import { UserError } from './user-error.ts';

const ROOT = new URL('../../', import.meta.url);
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

/** The modules of `src`, relative to the checkout. */
export function sourceModules(): readonly string[] {
  return typescriptIn(new URL('src/', ROOT)).map(shortPath);
}

/** Where a module of the checkout is. */
export function moduleUrl(path: string): URL {
  return new URL(path, ROOT);
}

/** What `threads-hook.mjs` is to serve. */
export interface Texts {
  /** Texts of modules instead of those on disk, by path relative to the checkout. */
  readonly edited?: ReadonlyMap<string, string>;
  /** All of `src` without types, and generators as written, for a worker of engine `explore`. */
  readonly keepGenerators?: boolean;
}

/**
 * Fills the cache and returns the URL of a manifest for `threads-hook.mjs`. Besides the loadable folders of `src` it holds the
 * TypeScript files beside `entry`, tests excepted, where a test brings its own worker.
 * @throws UserError for an edited module that such a worker never loads.
 */
export function prestrip(entry: URL, texts: Texts = {}): URL {
  const { edited = new Map<string, string>(), keepGenerators = false } = texts;
  const form = keepGenerators ? 'generators' : 'functions';
  const folders = keepGenerators ? [''] : LOADABLE.map((folder) => `${folder}/`);
  const urls = [...folders.map((folder) => new URL(`src/${folder}`, ROOT)), new URL('.', entry)];
  const modules = new Set(urls.flatMap(typescriptIn));
  const served = Array.from(modules).flatMap((path) => {
    const { href } = pathToFileURL(path);
    const text = edited.get(shortPath(path));
    const onDisk = unedited(path, form);
    return text === undefined
      ? [[href, onDisk]]
      : [
          [href, cachedText(text, path, form)],
          [`${href}?unedited`, onDisk],
        ];
  });
  for (const path of edited.keys()) {
    if (modules.has(fileURLToPath(moduleUrl(path)))) continue;
    throw new UserError(`${path}: not loaded on engine threads: an edit would change nothing`);
  }
  const manifest = JSON.stringify(Object.fromEntries(served));
  return store(`${hash(manifest)}.json`, () => {
    prune();
    return manifest;
  });
}

function typescriptIn(folder: URL): readonly string[] {
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return found
    .filter((name) => /(?<!\.d|\.test)\.ts$/.test(name))
    .map((name) => fileURLToPath(new URL(name, folder)))
    .toSorted();
}

/** What core code becomes. */
type Form = 'functions' | 'generators';

/** Texts of modules of `src` as they are, by form and path. They do not change while a process runs. */
const known = new Map<string, string>();

function unedited(path: string, form: Form): string {
  const key = `${form} ${path}`;
  const href = known.get(key) ?? cachedText(readFileSync(path, 'utf8'), path, form);
  if (shortPath(path).startsWith(`src${sep}`)) known.set(key, href);
  return href;
}

function cachedText(text: string, path: string, form: Form): string {
  const short = shortPath(path);
  const name = `${hash(STRIPPERS, form, short, text)}.mjs`;
  return store(name, () => (form === 'generators' ? withoutTypes(text) : stripModule(text, short)))
    .href;
}

/** What a stripped text depends on besides the module: this Node's type stripper and our own code. */
const STRIPPERS: string = hash(
  process.version,
  ...['main/prestrip.ts', 'engine/strip.ts', 'engine/dialect.ts'].map((file) =>
    readFileSync(new URL(`src/${file}`, ROOT), 'utf8'),
  ),
);

let cache: URL | null = null;

/** What was not used for so long is removed; what is used after half of it is written again, so that no other process removes it. */
const UNUSED_MS_MAX = 30 * 24 * 3600 * 1000;

function store(name: string, text: () => string): URL {
  cache ??= cacheFolder();
  const file = new URL(name, cache);
  if (ageMs(file) < UNUSED_MS_MAX / 2) return file;
  const draft = new URL(`${name}.${randomUUID()}`, cache);
  writeFileSync(draft, text());
  renameSync(draft, file);
  return file;
}

/** Since a file was written; endless if there is none. */
function ageMs(file: URL): number {
  return Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? -Infinity);
}

/** When a manifest is written the code has changed: then texts of older code are left over. */
function prune(): void {
  cache ??= cacheFolder();
  for (const name of readdirSync(cache)) {
    const file = new URL(name, cache);
    if (ageMs(file) > UNUSED_MS_MAX) rmSync(file, { force: true });
  }
}

/** An installed package may be on a disk, or belong to a user, where nothing can be written. */
function cacheFolder(): URL {
  const folder = new URL('node_modules/.cache/faultline/', ROOT);
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    return folder;
  } catch {
    const own = mkdtempSync(join(tmpdir(), 'faultline-'));
    process.once('exit', () => rmSync(own, { recursive: true, force: true }));
    return pathToFileURL(`${own}${sep}`);
  }
}

function hash(...parts: readonly string[]): string {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(`${part.length}:${part}`);
  return digest.digest('hex').slice(0, 32);
}
