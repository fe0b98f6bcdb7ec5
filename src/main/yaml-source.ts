import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  parseDocument,
  visit,
  type Document,
  type Node,
} from 'yaml';
import { fieldOf, type Path } from './field-path.ts';
import { oneLine } from './input-file.ts';
import { UserError } from './user-error.ts';

const tooDeep = 'nested too deeply';

/** A YAML document that remembers where each value stands, so that a complaint can name line, column and field. */
export class YamlSource {
  readonly name: string;
  /** The document as plain data. */
  readonly value: unknown;
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter = new LineCounter();

  /** Parses `text`; `name` is what messages call the file. Throws a UserError with the place of the first mistake. */
  constructor(name: string, text: string) {
    this.name = name;
    try {
      this.#document = parseDocument(text, {
        lineCounter: this.#lines,
        prettyErrors: false,
        logLevel: 'error',
      });
    } catch {
      throw new UserError(`${name}: YAML: ${tooDeep}`);
    }
    const mistake = this.#document.errors[0] ?? this.#document.warnings[0];
    if (mistake) throw this.#problemAt(mistake.pos[0], `YAML: ${reasonOf(mistake)}`);
    const value = this.#toData();
    if (value === null || value === undefined) {
      throw new UserError(`${name}: the file is empty: no workload in it`);
    }
    this.value = value;
  }

  /** Aliases are followed here: to anchors that are not there, or so often that they are an attack. */
  #toData(): unknown {
    try {
      return this.#document.toJS();
    } catch (error) {
      throw this.#problemAt(this.#suspectAlias(), `YAML: ${reasonOf(error as Error)}`);
    }
  }

  /** Where the first alias to an anchor that has not been set stands, or the first anchor if there is none. */
  #suspectAlias(): number {
    const anchors = new Map<string, number>();
    let suspect: number | undefined;
    visit(this.#document, {
      Node: (_, node) => {
        if (isAlias(node)) {
          if (anchors.has(node.source)) return undefined;
          suspect = startOf(node);
          return visit.BREAK;
        }
        if (node.anchor !== undefined) anchors.set(node.anchor, startOf(node));
        return undefined;
      },
    });
    return suspect ?? anchors.values().next().value ?? 0;
  }

  /** The plain data at `path`; undefined where there is nothing. */
  valueAt(path: Path): unknown {
    const node = this.#document.getIn(path, true);
    return isNode(node) ? node.toJS(this.#document) : undefined;
  }

  /** A complaint about the value at `path`, or about the nearest value around it that is there. */
  problem(path: Path, message: string): UserError {
    return this.#problemAt(
      this.#offsetOf(path),
      path.length > 0 ? `${fieldOf(path)}: ${message}` : message,
    );
  }

  /** A complaint about a key, not about its value. */
  keyProblem(path: Path, key: string, message: string): UserError {
    const parent = this.#document.getIn(path, true);
    const pair = isMap(parent)
      ? parent.items.find((item) => String(isScalar(item.key) ? item.key.value : item.key) === key)
      : undefined;
    const offset = isNode(pair?.key) ? startOf(pair.key) : this.#offsetOf(path);
    return this.#problemAt(offset, `${fieldOf([...path, key])}: ${message}`);
  }

  #offsetOf(path: Path): number {
    for (let length = path.length; length > 0; length -= 1) {
      const node = this.#document.getIn(path.slice(0, length), true);
      if (isNode(node)) return startOf(node);
    }
    return this.#document.contents ? startOf(this.#document.contents) : 0;
  }

  #problemAt(offset: number, message: string): UserError {
    const { line, col } = this.#lines.linePos(offset);
    return new UserError(
      oneLine(`${this.name}:${Math.max(line, 1)}:${Math.max(col, 1)}: ${message}`),
    );
  }
}

/** What the parser found wrong; it reports nesting that exhausts the stack as any other mistake. */
function reasonOf(error: Error): string {
  return /call stack/u.test(error.message) ? tooDeep : error.message;
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0;
}
