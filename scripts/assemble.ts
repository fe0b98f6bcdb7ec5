/** Assembles src/engine/atomics.wat into src/engine/atomics-wasm.ts: `node scripts/assemble.ts`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { assembledModule } from './assembled-module.ts';

const engine = new URL('../src/engine/', import.meta.url);
const text = await assembledModule(readFileSync(new URL('atomics.wat', engine), 'utf8'));
writeFileSync(new URL('atomics-wasm.ts', engine), text);
