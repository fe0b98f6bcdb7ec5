/** What the core dialect refuses, rule by rule, each with an accepted twin that differs by little. */

/** A refused text with `^` before the offence, what the message says of it, and its accepted twin. */
export interface Case {
  readonly rule: string;
  readonly refused: string;
  readonly says: string;
  readonly accepted: string;
}

const MISSING = 'yield* is missing before this call';
const CALL = 'the operand of yield* must be a call';
const LINE = 'the call must start on the same line as its yield*';
const ELSEWHERE =
  'yield* cannot stand here: only in a generator body, not in an arrow, getter, constructor or default parameter';

const leaf = 'function* leaf(c) { return c; } ';
export const cases: readonly Case[] = [
  {
    rule: 'bare yield',
    refused: 'function* f() { ^yield g(); }',
    says: 'bare yield: only yield* with a call is allowed',
    accepted: 'function* f() { yield* g(); }',
  },
  {
    rule: 'yield without a value',
    refused: 'function* f() { ^yield; }',
    says: 'bare yield: only yield* with a call is allowed',
    accepted: 'function* f() { return; }',
  },
  {
    rule: 'async function',
    refused: '^async function f() {}',
    says: 'async functions are not part of the core dialect',
    accepted: 'function f() {}',
  },
  {
    rule: 'async generator',
    refused: '^async function* f() {}',
    says: 'async functions are not part of the core dialect',
    accepted: 'function* f() {}',
  },
  {
    rule: 'async arrow',
    refused: 'const f = ^async () => 1;',
    says: 'async functions are not part of the core dialect',
    accepted: 'const f = () => 1;',
  },
  {
    rule: 'async method',
    refused: 'class A { async f^() {} }',
    says: 'async functions are not part of the core dialect',
    accepted: 'class A { f() {} }',
  },
  {
    rule: 'await',
    refused: '^await f();',
    says: 'await is not part of the core dialect',
    accepted: 'f();',
  },
  {
    rule: 'for await',
    refused: '^for await (const x of xs) x();',
    says: 'for await is not part of the core dialect',
    accepted: 'for (const x of xs) x();',
  },
  {
    rule: 'operand kept in a variable',
    refused: 'function* f(op) { ^yield* op; }',
    says: CALL,
    accepted: 'function* f(op) { yield* op(); }',
  },
  {
    rule: 'operand chosen',
    refused: 'function* f(a) { ^yield* a ? g() : h(); }',
    says: CALL,
    accepted: 'function* f(a) { a ? yield* g() : yield* h(); }',
  },
  {
    rule: 'operand constructed',
    refused: 'function* f() { ^yield* new G(); }',
    says: CALL,
    accepted: 'function* f() { yield* new G().run(); }',
  },
  {
    rule: 'operand optional',
    refused: 'function* f(g) { ^yield* g?.(); }',
    says: CALL,
    accepted: 'function* f(g) { if (g) yield* g(); }',
  },
  {
    rule: 'operand on the next line',
    refused: 'function* f() { return ^yield*\n g(); }',
    says: LINE,
    accepted: 'function* f() { return yield* g(\n); }',
  },
  {
    rule: 'operand after a line comment',
    refused: 'function* f() { return ^yield* // comment\n g(); }',
    says: LINE,
    accepted: 'function* f() { return yield* /* comment */ g(); }',
  },
  {
    rule: 'operand after a comment of two lines',
    refused: 'function* f() { return ^yield* /* 1\n 2 */ g(); }',
    says: LINE,
    accepted: 'function* f() { return yield* g(/* 1\n 2 */); }',
  },
  {
    rule: 'operand after a parenthesis and a line break',
    refused: 'function* f() { return ^yield* (\n g()); }',
    says: LINE,
    accepted: 'function* f() { return yield* (g(\n)); }',
  },
  {
    rule: 'Op in a constant',
    refused: `${leaf}function* f() { const op = ^leaf(); }`,
    says: `an Op cannot be kept in a variable: ${MISSING}`,
    accepted: `${leaf}function* f() { const got = yield* leaf(); }`,
  },
  {
    rule: 'Op assigned',
    refused: `${leaf}function f(a) { a.op = ^leaf(); }`,
    says: `an Op cannot be kept in a variable: ${MISSING}`,
    accepted: `${leaf}function f(a) { a.op = leaf; }`,
  },
  {
    rule: 'Op in an object',
    refused: `${leaf}const ops = { op: ^leaf() };`,
    says: `an Op cannot be kept in an object: ${MISSING}`,
    accepted: `${leaf}const ops = { leaf, other: leaf };`,
  },
  {
    rule: 'Op in an array',
    refused: `${leaf}const ops = [^leaf()];`,
    says: `an Op cannot be kept in an object: ${MISSING}`,
    accepted: `${leaf}const ops = [leaf, () => leaf()];`,
  },
  {
    rule: 'Op in a field',
    refused: `${leaf}class A { op = ^leaf(); }`,
    says: `an Op cannot be kept in an object: ${MISSING}`,
    accepted: `${leaf}class A { op = leaf; }`,
  },
  {
    rule: 'Op passed on',
    refused: `${leaf}run(^leaf());`,
    says: `an Op cannot be passed as an argument: ${MISSING}`,
    accepted: `${leaf}drive(leaf()); run(leaf);`,
  },
  {
    rule: 'Op passed to a constructor',
    refused: `${leaf}new Agent(^leaf());`,
    says: `an Op cannot be passed as an argument: ${MISSING}`,
    accepted: `${leaf}new Agent(leaf);`,
  },
  {
    rule: 'Op returned by a generator',
    refused: `${leaf}function* f() { return ^leaf(); }`,
    says: MISSING,
    accepted: `${leaf}function f() { return leaf(); } function* g() { return yield* f(); }`,
  },
  {
    rule: 'Op discarded',
    refused: `${leaf}function* f() { ^leaf(); }`,
    says: MISSING,
    accepted: `${leaf}function* f() { yield* leaf(); }`,
  },
  {
    rule: 'Op tested',
    refused: `${leaf}function* f() { if (^leaf()) return 1; }`,
    says: MISSING,
    accepted: `${leaf}function* f() { if (yield* leaf()) return 1; }`,
  },
  {
    rule: 'Op stepped by hand',
    refused: `${leaf}function f() { ^leaf().next(); }`,
    says: MISSING,
    accepted: `${leaf}function f(other) { other().next(); }`,
  },
  {
    rule: 'Op of a generator expression',
    refused: 'const g = function* () {}; const op = ^g();',
    says: `an Op cannot be kept in a variable: ${MISSING}`,
    accepted: 'const g = function () {}; const op = g();',
  },
  {
    rule: 'Op of an import that is delegated to elsewhere',
    refused: "import { load } from '#port'; function* f() { yield* load(); ^load(); }",
    says: MISSING,
    accepted: "import { load, read } from '#port'; function* f() { yield* load(); read(); }",
  },
  {
    rule: 'Op of a method on this',
    refused: 'class A { *m() {} *n() { ^this.m(); } }',
    says: MISSING,
    accepted: 'class A { *m() {} *n() { yield* this.m(); } } class B { m() {} n() { this.m(); } }',
  },
  {
    rule: 'Op of a private method',
    refused: 'class A { *#m() {} *n() { const op = ^this.#m(); } }',
    says: `an Op cannot be kept in a variable: ${MISSING}`,
    accepted: 'class A { *#m() {} *n() { const got = yield* this.#m(); } }',
  },
  {
    rule: 'Op of an object method on this',
    refused: 'const o = { *m() {}, *n() { ^this.m(); } };',
    says: MISSING,
    accepted: 'const o = { m() {}, *n() { this.m(); } };',
  },
  {
    rule: 'iterated by a loop',
    refused: `${leaf}for (const x of ^leaf()) x();`,
    says: `a core generator cannot be iterated: ${MISSING}`,
    accepted: `${leaf}for (const x of leaves()) x();`,
  },
  {
    rule: 'iterated by spreading',
    refused: `${leaf}const xs = [...^leaf()];`,
    says: `a core generator cannot be iterated: ${MISSING}`,
    accepted: `${leaf}const xs = [...leaves()];`,
  },
  {
    rule: 'iterated by destructuring',
    refused: `${leaf}const [x] = ^leaf();`,
    says: `an Op cannot be kept in a variable: ${MISSING}`,
    accepted: `${leaf}function* f() { const [x] = yield* leaf(); }`,
  },
  {
    rule: 'an iterator method of a class',
    refused: 'class A { ^*[Symbol.iterator]() {} }',
    says: 'a core generator cannot be an iterator',
    accepted: 'class A { [Symbol.iterator]() {} *[Symbol.other]() {} }',
  },
  {
    rule: 'an iterator method of an object',
    refused: 'const o = { ^*[Symbol.iterator]() {} };',
    says: 'a core generator cannot be an iterator',
    accepted: 'const o = { *iterator() {} };',
  },
  {
    rule: 'a driven variable',
    refused: '^drive(op);',
    says: 'the argument of drive must be a call',
    accepted: 'drive(op());',
  },
  {
    rule: 'yield* in an arrow',
    refused: 'function* f() { return () => ^yield* g(); }',
    says: ELSEWHERE,
    accepted: 'function* f() { return function* () { yield* g(); }; }',
  },
  {
    rule: 'yield* in a getter',
    refused: 'class A { get x() { return ^yield* g(); } }',
    says: ELSEWHERE,
    accepted: 'class A { get x() { return g(); } }',
  },
  {
    rule: 'yield* in a constructor',
    refused: 'class A { constructor() { ^yield* g(); } }',
    says: ELSEWHERE,
    accepted: 'class A { constructor() { g(); } }',
  },
  {
    rule: 'yield* in a default parameter',
    refused: 'function* f(a = ^yield* g()) {}',
    says: ELSEWHERE,
    accepted: 'function* f(a = g()) {}',
  },
  {
    rule: 'broken syntax',
    refused: 'function* f( { ^',
    says: 'Unexpected token',
    accepted: 'function* f() {}',
  },
  {
    rule: 'a field that would become a getter',
    refused: '^class A { get\n *leaf() {} }',
    says: 'this would mean something else without its star',
    accepted: 'class A { get;\n *leaf() {} }',
  },
  {
    rule: 'a call that would join the line above',
    refused: '^function* f() { x\nyield* (g)() }',
    says: 'this would mean something else without its star',
    accepted: 'function* f() { x;\nyield* (g)() }',
  },
];
