/**
 * Load hook of worker threads that run from the sources: serves modules that the main thread has stripped once (and edited, where a run
 * has edits), under their own URLs.
 *
 * Started as `--import threads-hook.mjs?manifest=<file URL>`. The manifest is JSON, `{"<module URL>": "<file URL of its text>"}`, with
 * `?unedited` after the URL of an edited module where its text on disk is meant: what `#unedited` imports, and all that this imports;
 * `src/main/prestrip.ts` writes it. Plain JavaScript, so that a worker loads no type stripper (50 ms and 10 MiB each).
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

const manifest = new URL(import.meta.url).searchParams.get('manifest');
if (manifest === null) throw new Error('bug: threads-hook.mjs needs ?manifest=<file URL>');
/** @type {Readonly<Record<string, string>>} */
const texts = JSON.parse(readFileSync(new URL(manifest), 'utf8'));

/** Marks modules as they are on disk, in a thread that has others edited. */
const UNEDITED = '?unedited';

/**
 * One of the modules that are served, by its relative path: Node would look at files for each import, half of a worker's start.
 * @param {string} specifier
 * @param {string | undefined} parentURL
 */
function beside(specifier, parentURL) {
  if (!specifier.startsWith('.')) return null;
  const { href } = new URL(specifier, parentURL);
  return texts[href] === undefined ? null : { url: href, format: 'module', shortCircuit: true };
}

registerHooks({
  resolve(specifier, context, nextResolve) {
    const found = beside(specifier, context.parentURL) ?? nextResolve(specifier, context);
    const isUnedited = specifier === '#unedited' || context.parentURL?.endsWith(UNEDITED);
    const isOurs = texts[found.url] !== undefined;
    return isUnedited && isOurs ? { ...found, url: found.url + UNEDITED } : found;
  },
  load(url, context, nextLoad) {
    const text = texts[url] ?? texts[url.replace(UNEDITED, '')];
    if (text === undefined) return nextLoad(url, context);
    return { format: 'module', shortCircuit: true, source: readFileSync(new URL(text), 'utf8') };
  },
});
