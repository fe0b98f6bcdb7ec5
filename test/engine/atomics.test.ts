import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { assembledModule } from '../../scripts/assembled-module.ts';
import { ATOMICS_BASE64 } from '../../src/engine/atomics-wasm.ts';

const engine = new URL('../../src/engine/', import.meta.url);

function source(name: string): string {
  return readFileSync(new URL(name, engine), 'utf8');
}

test('the embedded module is assembled from the text beside it', async () => {
  expect(source('atomics-wasm.ts')).toBe(await assembledModule(source('atomics.wat')));
});

test('another text gives another module', async () => {
  const changed = source('atomics.wat').replace('i32.atomic.rmw.or', 'i32.atomic.rmw.xor');
  expect(await assembledModule(changed)).not.toBe(source('atomics-wasm.ts'));
});

test('it exports its operations by name', () => {
  const module = new WebAssembly.Module(Uint8Array.fromBase64(ATOMICS_BASE64));
  expect(WebAssembly.Module.exports(module).map(({ name }) => name)).toEqual([
    'load32',
    'store32',
    'add32',
    'or32',
    'cas32',
    'signal32',
    'load64',
    'high',
    'fill',
    'store64',
    'cas64',
  ]);
});
