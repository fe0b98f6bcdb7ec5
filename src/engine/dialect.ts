/**
 * The dialect of core code: what a stripped generator may and may not say.
 *
 * Goal: after the strip a core function makes the same accesses in the same order. So `yield*` must stand before every call of a
 * core generator, its operand must be a call that starts beside it, and nothing may treat the generator as an object.
 *
 * What one module's syntax shows is refused here: a bare `yield`; `async` and `await`; an operand that is no call; a generator
 * method for `Symbol.iterator`; `drive` of anything but a call; and a call of a *known* generator anywhere but under `yield*`,
 * in `drive(...)`, or returned by an ordinary function. Known are: generator functions declared in the module (also
 * `const f = function* ...`), imported names that the module delegates to somewhere, and generator methods called on `this` inside
 * their own class or object. A known name must not be reused for something else in the module: shadowing is not followed.
 *
 * Left to type-aware lint (`op.d.ts`), because only types show it: a discarded or tested Op of any other callee, such as
 * `lock.release();`. Left to review: an Op of such a callee that is stored or passed on. It cannot be run from there, because
 * both `yield*` and `drive` take nothing but a call.
 */
import type { AnyNode, CallExpression, FunctionDeclaration, FunctionExpression } from 'acorn';
import { walk } from 'zimmerframe';

/** One breach: its offset in the text and one line that says what is wrong. */
export interface Breach {
  readonly at: number;
  readonly what: string;
}

type Path = readonly AnyNode[];
type AnyFunction = FunctionDeclaration | FunctionExpression;
interface Scope {
  readonly methods: ReadonlySet<string>;
}

/** Every breach of the dialect in a module, in the order of the text. `text` is what `program` was parsed from. */
export function breaches(program: AnyNode, text: string): readonly Breach[] {
  const known = knownGenerators(program);
  const found: Breach[] = [];
  const refuse = (node: AnyNode, what: string | null): void => {
    if (what !== null) found.push({ at: node.start, what });
  };
  walk<AnyNode, Scope>(
    program,
    { methods: new Set() },
    {
      ClassBody: (node, { next }) => next({ methods: generatorMethods(node.body) }),
      ObjectExpression: (node, { next }) => next({ methods: generatorMethods(node.properties) }),
      MethodDefinition: (node, { next }) => {
        refuse(node, iteratorMethod(node));
        next();
      },
      Property: (node, { next }) => {
        refuse(node, iteratorMethod(node));
        next();
      },
      FunctionDeclaration: (node, { next }) => {
        refuse(node, asyncFunction(node));
        next();
      },
      FunctionExpression: (node, { next }) => {
        refuse(node, asyncFunction(node));
        next();
      },
      ArrowFunctionExpression: (node, { next }) => {
        refuse(node, asyncFunction(node));
        next();
      },
      AwaitExpression: (node, { next }) => {
        refuse(node, 'await is not part of the core dialect');
        next();
      },
      ForOfStatement: (node, { next }) => {
        refuse(node, node.await ? 'for await is not part of the core dialect' : null);
        next();
      },
      YieldExpression: (node, { next }) => {
        refuse(node, operand(node, text));
        next();
      },
      CallExpression: (node, { next, path, state }) => {
        refuse(node, drivenValue(node));
        if (isKnown(node, known, state.methods)) refuse(node, misuse(path));
        next();
      },
    },
  );
  return found.toSorted((a, b) => a.at - b.at);
}

function asyncFunction(node: { readonly async: boolean }): string | null {
  return node.async ? 'async functions are not part of the core dialect' : null;
}

function operand(node: Extract<AnyNode, { type: 'YieldExpression' }>, text: string): string | null {
  if (!node.delegate || !node.argument) return 'bare yield: only yield* with a call is allowed';
  if (node.argument.type !== 'CallExpression') return 'the operand of yield* must be a call';
  const between = text.slice(node.start, node.argument.start);
  return /[\n\r\u2028\u2029]/.test(between)
    ? 'the call must start on the same line as its yield*'
    : null;
}

function iteratorMethod(
  node: Extract<AnyNode, { type: 'MethodDefinition' | 'Property' }>,
): string | null {
  if (!isGenerator(node.value) || !node.computed || node.key.type !== 'MemberExpression')
    return null;
  const { object, property } = node.key;
  const isIterator =
    object.type === 'Identifier' && object.name === 'Symbol' && nameOf(property) === 'iterator';
  return isIterator ? 'a core generator cannot be an iterator' : null;
}

function drivenValue(node: CallExpression): string | null {
  const [argument] = node.arguments;
  const isDriven = isDrive(node) && argument?.type !== 'CallExpression';
  return isDriven ? 'the argument of drive must be a call' : null;
}

/** What a place does with an Op that it may not have. Elsewhere only the `yield*` is missing. */
const ROLES: Partial<Record<AnyNode['type'], string>> = {
  VariableDeclarator: 'an Op cannot be kept in a variable: ',
  AssignmentExpression: 'an Op cannot be kept in a variable: ',
  PropertyDefinition: 'an Op cannot be kept in an object: ',
  Property: 'an Op cannot be kept in an object: ',
  ArrayExpression: 'an Op cannot be kept in an object: ',
  CallExpression: 'an Op cannot be passed as an argument: ',
  NewExpression: 'an Op cannot be passed as an argument: ',
  ForOfStatement: 'a core generator cannot be iterated: ',
  SpreadElement: 'a core generator cannot be iterated: ',
};

/** Why the place of a known generator's call is wrong, or null where it is right. */
function misuse(path: Path): string | null {
  const parent = path.at(-1);
  if (parent === undefined || isRun(parent) || isHandedOn(parent, path)) return null;
  return `${ROLES[parent.type] ?? ''}yield* is missing before this call`;
}

function isRun(parent: AnyNode): boolean {
  return parent.type === 'YieldExpression' || (parent.type === 'CallExpression' && isDrive(parent));
}

/** An ordinary function may return an Op: it is called under `yield*` itself, before and after the strip. */
function isHandedOn(parent: AnyNode, path: Path): boolean {
  if (parent.type === 'ArrowFunctionExpression') return true;
  return parent.type === 'ReturnStatement' && !isGenerator(enclosingFunction(path));
}

function isKnown(
  call: CallExpression,
  known: ReadonlySet<string>,
  methods: ReadonlySet<string>,
): boolean {
  const { callee } = call;
  if (callee.type === 'Identifier') return known.has(callee.name);
  if (callee.type !== 'MemberExpression' || callee.object.type !== 'ThisExpression') return false;
  const name = nameOf(callee.property);
  return !callee.computed && name !== null && methods.has(name);
}

function knownGenerators(program: AnyNode): ReadonlySet<string> {
  const declared = new Set<string>();
  const imported = new Set<string>();
  const delegated = new Set<string>();
  walk<AnyNode, null>(program, null, {
    FunctionDeclaration: (node, { next }) => {
      if (node.generator && node.id) declared.add(node.id.name);
      next();
    },
    VariableDeclarator: (node, { next }) => {
      if (node.id.type === 'Identifier' && isGenerator(node.init)) declared.add(node.id.name);
      next();
    },
    ImportSpecifier: (node) => {
      imported.add(node.local.name);
    },
    YieldExpression: (node, { next }) => {
      const callee = node.argument?.type === 'CallExpression' ? node.argument.callee : null;
      if (callee?.type === 'Identifier') delegated.add(callee.name);
      next();
    },
  });
  return declared.union(imported.intersection(delegated));
}

function generatorMethods(members: readonly AnyNode[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const member of members) {
    if (member.type !== 'MethodDefinition' && member.type !== 'Property') continue;
    const name = nameOf(member.key);
    if (isGenerator(member.value) && !member.computed && name !== null) names.add(name);
  }
  return names;
}

function nameOf(key: AnyNode): string | null {
  if (key.type === 'Identifier') return key.name;
  return key.type === 'PrivateIdentifier' ? `#${key.name}` : null;
}

function isDrive(call: CallExpression): boolean {
  return call.callee.type === 'Identifier' && call.callee.name === 'drive';
}

function isGenerator(node: AnyNode | null | undefined): boolean {
  return isOrdinaryFunction(node) && node.generator;
}

function isOrdinaryFunction(node: AnyNode | null | undefined): node is AnyFunction {
  return node?.type === 'FunctionDeclaration' || node?.type === 'FunctionExpression';
}

function enclosingFunction(path: Path): AnyNode | undefined {
  return path.findLast(
    (node) => isOrdinaryFunction(node) || node.type === 'ArrowFunctionExpression',
  );
}
