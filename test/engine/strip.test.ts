import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DialectError, strip } from '../../src/engine/strip.ts';
import { cases } from './strip-cases.ts';

/** The error of a refused text; the test fails where nothing is thrown. */
function refusal(text: string): unknown {
  try {
    return `accepted: ${strip(text, 'core.ts')}`;
  } catch (error) {
    return error;
  }
}

describe.each(cases)('$rule', ({ refused, says, accepted }) => {
  test('is refused where it stands', () => {
    const [before = ''] = refused.split('^');
    const lines = before.split('\n');
    const at = `core.ts:${lines.length}:${(lines.at(-1)?.length ?? 0) + 1}`;
    const error = refusal(refused.replace('^', ''));
    expect(error).toBeInstanceOf(DialectError);
    expect((error as DialectError).message).toBe(`${at}: ${says}`);
  });

  test('its twin is accepted', () => {
    expect(strip(accepted, 'core.ts')).not.toMatch(/yield|\*(?! comment| 1|\/)/);
  });
});

/** Generator heads and bodies in every form, each beside its plain form. */
const forms: readonly (readonly [generator: string, plain: string])[] = [
  ['function* f() { return 2 * 3; }', 'function  f() { return 2 * 3; }'],
  ['function*f(){}', 'function f(){}'],
  ['function /* * */ * f() {}', 'function /* * */   f() {}'],
  ['export default function* () {}', 'export default function  () {}'],
  ['const f = function* () { return 2 * 3; };', 'const f = function  () { return 2 * 3; };'],
  ['class A { *leaf(c) { return 2 * 3; } }', 'class A {  leaf(c) { return 2 * 3; } }'],
  ['class A { static *leaf() {} }', 'class A { static  leaf() {} }'],
  ['class A { *#leaf() {} }', 'class A {  #leaf() {} }'],
  ['class A { *[2 * 3]() { return 4 * 5; } }', 'class A {  [2 * 3]() { return 4 * 5; } }'],
  ["class A { static *['a' + 2 * 3]() {} }", "class A { static  ['a' + 2 * 3]() {} }"],
  ['const o = {*leaf(c){ return c * 2; }};', 'const o = { leaf(c){ return c * 2; }};'],
  ['const o = { *[k * 2]() {} };', 'const o = {  [k * 2]() {} };'],
  ['const o = { leaf: function* () {} };', 'const o = { leaf: function  () {} };'],
  ['function* f() { yield* g(); }', 'function  f() {        g(); }'],
  ['function* f() { yield*g(); }', 'function  f() {       g(); }'],
  ['function* f() { yield * g(); }', 'function  f() {         g(); }'],
  ['function* f() { return yield* g() }', 'function  f() { return        g() }'],
  ['function* f() { yield* (g()); }', 'function  f() {        (g()); }'],
  ['function* f() { yield* g(yield* h() ); }', 'function  f() {        g(       h() ); }'],
  ['function* f() { yield* a.b.c(1n, /x*/); }', 'function  f() {        a.b.c(1n, /x*/); }'],
  ['function* f() { return 2 * (yield* g()); }', 'function  f() { return 2 * (       g()); }'],
  [
    'function* f() { yield* super_(`${yield* g()}*`); }',
    'function  f() {        super_(`${       g()}*`); }',
  ],
  ['// yield* and *\nfunction* f() {}', '// yield* and *\nfunction  f() {}'],
  ['function* f() {\r\n  yield* g();\r\n}', 'function  f() {\r\n         g();\r\n}'],
];

test.each(forms)('%j becomes %j', (generator, plain) => {
  expect(strip(generator, 'core.ts')).toBe(plain);
});

test('text without generators stays as it is', () => {
  const text = "const s = 'yield* f()'; // function*\nfunction f() { return 2 * 3; }\n";
  expect(strip(text, 'core.ts')).toBe(text);
});

/** Bodies of core functions: nested statements with calls at many depths. */
const body = fc.letrec<{ block: string; body: string }>((tie) => ({
  body: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom('yield* add(1);', 'seen += 2 * 3;', '/* yield* */ yield* add(2) ;', ';'),
    fc.constantFrom('seen = (yield* add(3)) * 2;', 'if (yield* add(4)) seen *= 3;', '// *\n'),
    tie('block'),
  ),
  block: fc
    .tuple(fc.constantFrom('', 'if (seen > 5) ', 'for (const _ of [1, 2]) '), fc.array(tie('body')))
    .map(([head, bodies]) => `${head}{\n${bodies.join(' ')}\n}`),
})).block;

function run(text: string, isGenerator: boolean): unknown {
  const result: unknown = runInNewContext(`${text}; f();`);
  return isGenerator ? (result as Generator).next().value : result;
}

test('positions stay and the result means the same', () => {
  fc.assert(
    fc.property(body, (statements) => {
      const text = `let seen = 0; function* add(n) { seen += n; return seen % 2; }
        function* f() { ${statements} return seen; }`;
      const stripped = strip(text, 'core.ts');
      expect(stripped).toHaveLength(text.length);
      expect(Array.from(stripped).every((char, i) => char === text[i] || char === ' ')).toBe(true);
      expect(run(stripped, false)).toBe(run(text, true));
    }),
  );
});
