/**
 * Load hook of worker threads that run from the sources: serves modules that the main thread has stripped once (and edited, where a run
 * has edits), under their own URLs.
 *
 * Started as `--import threads-hook.mjs?manifest=<file URL>`. The manifest is JSON, `{"<module URL>": "<file URL of its text>"}`;
 * `src/main/prestrip.ts` writes it. Plain JavaScript, so that a worker loads no type stripper (50 ms and 10 MiB each).
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

const manifest = new URL(import.meta.url).searchParams.get('manifest');
if (manifest === null) throw new Error('bug: threads-hook.mjs needs ?manifest=<file URL>');
/** @type {Readonly<Record<string, string>>} */
const texts = JSON.parse(readFileSync(new URL(manifest), 'utf8'));

registerHooks({
  load(url, context, nextLoad) {
    const text = texts[url];
    if (text === undefined) return nextLoad(url, context);
    return { format: 'module', shortCircuit: true, source: readFileSync(new URL(text), 'utf8') };
  },
});
