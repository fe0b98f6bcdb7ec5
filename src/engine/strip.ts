/**
 * Turns core code from generators into plain functions: `function*` becomes `function`, `yield* f()` becomes `f()`.
 *
 * Every removed character becomes a blank, so line and column of all that stays are unchanged: stack traces, coverage and
 * breakpoints keep their positions. What the code may say is the matter of `dialect.ts`.
 */
import { getLineInfo, parse, tokTypes, type AnyNode, type Program, type Token } from 'acorn';
import { walk } from 'zimmerframe';
import { breaches } from './dialect.ts';

/** Core text that cannot be stripped. The message is one line, `file:line:col: what is wrong`; lines and columns count from 1. */
export class DialectError extends Error {
  override readonly name = 'DialectError';

  constructor(url: string, text: string, at: number, what: string) {
    const { line, column } = getLineInfo(text, at);
    super(`${url}:${line}:${column + 1}: ${what}`);
  }
}

/**
 * The same module without generators, equal in length and in the place of every line break.
 *
 * `text` is JavaScript already: types have been blanked by Node's `stripTypeScriptTypes`. `url` names the module in errors only.
 * Throws `DialectError` at the first breach of the dialect, or where the result would not mean the same.
 */
export function strip(text: string, url: string): string {
  const stars: number[] = [];
  const program = parseModule(text, url, stars);
  const [breach] = breaches(program, text);
  if (breach) throw new DialectError(url, text, breach.at, breach.what);
  const stripped = blanked(text, marks(program, stars));
  const changed = firstChange(program, parseModule(stripped, url, []));
  if (changed !== null)
    throw new DialectError(url, text, changed, 'this would mean something else without its star');
  return stripped;
}

/** Parses a module and collects the offsets of its `*` tokens. */
function parseModule(text: string, url: string, stars: number[]): Program {
  const onToken = (token: Token): void => {
    if (token.type === tokTypes.star) stars.push(token.start);
  };
  try {
    return parse(text, { ecmaVersion: 'latest', sourceType: 'module', onToken });
  } catch (error) {
    if (!(error instanceof SyntaxError) || !hasPosition(error)) throw error;
    throw new DialectError(url, text, error.pos, syntaxError(error.message, text, error.pos));
  }
}

function hasPosition(error: SyntaxError): error is SyntaxError & { readonly pos: number } {
  return 'pos' in error && typeof error.pos === 'number';
}

function syntaxError(message: string, text: string, at: number): string {
  return /^yield\b/.test(text.slice(at, at + 6))
    ? 'yield* cannot stand here: only in a generator body, not in an arrow, getter, constructor or default parameter'
    : message.replace(/ \(\d+:\d+\)$/, '');
}

/** A run of characters that the strip removes. */
interface Mark {
  readonly at: number;
  readonly length: number;
}

function marks(program: Program, stars: readonly number[]): readonly Mark[] {
  const found: Mark[] = [];
  const markStar = (from: number): void => {
    const at = stars.find((star) => star >= from);
    if (at === undefined) throw new Error(`bug: no star after offset ${from}`);
    found.push({ at, length: 1 });
  };
  walk<AnyNode, null>(program, null, {
    FunctionDeclaration: (node, { next }) => {
      if (node.generator) markStar(node.start);
      next();
    },
    FunctionExpression: (node, { next, path }) => {
      if (node.generator) markStar(headStart(node, path.at(-1)));
      next();
    },
    YieldExpression: (node, { next }) => {
      found.push({ at: node.start, length: 'yield'.length });
      markStar(node.start);
      next();
    },
  });
  return found;
}

/** Where a function's head begins: a method's own node begins at its parameters, its star belongs to the parent. */
function headStart(node: AnyNode, parent: AnyNode | undefined): number {
  const isMethod =
    parent?.type === 'MethodDefinition' || (parent?.type === 'Property' && parent.method);
  return isMethod && parent.value === node ? parent.start : node.start;
}

function blanked(text: string, removed: readonly Mark[]): string {
  const out = text.split('');
  for (const { at, length } of removed) out.fill(' ', at, at + length);
  return out.join('');
}

/**
 * Compares the generator program with the parsed result. Null when they differ only in what the strip removes, so the result holds
 * no generator and no `yield`; else the offset of the first top-level statement that differs (a blanked star can turn the field `get`
 * above a method into a getter, or join a parenthesised call to the line above).
 */
function firstChange(before: Program, after: Program): number | null {
  const [old, now] = [before.body, after.body];
  const at = old.findIndex((node, i) => shape(node, true) !== shape(now[i], false));
  if (at >= 0) return old[at]?.start ?? 0;
  return old.length === now.length ? null : before.end;
}

/** A tree as text, without positions; `asStripped` reads `yield* f()` as `f()` and every function as no generator. */
function shape(node: AnyNode | undefined, asStripped: boolean): string {
  return JSON.stringify(node ?? null, (key, value: unknown) => {
    if (key === 'start' || key === 'end') return undefined;
    if (typeof value === 'bigint') return String(value);
    if (!asStripped) return value;
    if (key === 'generator') return false;
    return isYield(value) ? value.argument : value;
  });
}

function isYield(value: unknown): value is { readonly argument: unknown } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'type' in value &&
    value.type === 'YieldExpression' &&
    'argument' in value
  );
}
