import { gunzipSync } from 'node:zlib';
import { TRACE_PAGE_BYTES, type AccessKind } from '../../workers/scenario.ts';
import { displayName, oneLine, readBytes } from '../input-file.ts';
import { UserError } from '../user-error.ts';

/** The accesses of a memory trace in order, and where each page was first seen. */
export interface LackeyTrace {
  /** Page number (address >>> 12) of each access. */
  readonly pages: Uint32Array;
  /** Index into `accessKinds` of each access. */
  readonly kinds: Uint8Array;
  /** For each page touched, the first line (from 1) that touches it. */
  readonly firstLine: ReadonlyMap<number, number>;
}

/** What the numbers in `LackeyTrace.kinds` mean. */
export const accessKinds: readonly AccessKind[] = ['read', 'write', 'exec'];

const textBytesMax = 256 * 1024 * 1024;
/** Page numbers are kept in 32 bits. */
const addressLimit = 2 ** 44;

/** Operations of the trace format: a modify is a read, then a write. */
const accessesOf: Readonly<Record<string, readonly number[]>> = {
  'I ': [2],
  ' L': [0],
  ' S': [1],
  ' M': [0, 1],
};

/**
 * Reads a Valgrind lackey trace (`--trace-mem=yes`), gzip or plain, at most `accessesMax` accesses of it. An access that crosses
 * a page boundary touches both pages. Throws a UserError that names the file, and the line if one is malformed.
 */
export function readLackey(
  file: string,
  accessesMax: number = Number.POSITIVE_INFINITY,
): LackeyTrace {
  return parseLackey(displayName(file), unpack(file), accessesMax);
}

/** As `readLackey`, on text; `name` is what messages call the file. */
export function parseLackey(
  name: string,
  text: string,
  accessesMax: number = Number.POSITIVE_INFINITY,
): LackeyTrace {
  const trace = new TraceBuilder(accessesMax);
  let lineNumber = 0;
  for (let start = 0; start < text.length && !trace.full;) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(start, end).trimEnd();
    start = end + 1;
    lineNumber += 1;
    if (line === '' || line.startsWith('==') || line.startsWith('--')) continue;
    const mistake = trace.add(line, lineNumber);
    if (mistake) throw new UserError(`${name}:${lineNumber}: ${mistake}`);
  }
  if (trace.pages.length === 0) throw new UserError(`${name}: no memory access in it`);
  return {
    pages: Uint32Array.from(trace.pages),
    kinds: Uint8Array.from(trace.kinds),
    firstLine: trace.firstLine,
  };
}

class TraceBuilder {
  readonly pages: number[] = [];
  readonly kinds: number[] = [];
  readonly firstLine: Map<number, number> = new Map();
  readonly #accessesMax: number;

  constructor(accessesMax: number) {
    this.#accessesMax = accessesMax;
  }

  get full(): boolean {
    return this.pages.length >= this.#accessesMax;
  }

  /** Takes one line in; returns what is wrong with it, or null. */
  add(line: string, lineNumber: number): string | null {
    const match = /^(I | [LSM]) ([0-9a-f]{1,16}),(\d{1,5})$/iu.exec(line);
    const kinds = accessesOf[match?.[1] ?? ''];
    if (!match || !kinds) return `not a line of a lackey trace: "${oneLine(line.slice(0, 40))}"`;
    const address = Number.parseInt(match[2] ?? '', 16);
    const bytes = Number(match[3]);
    if (bytes < 1 || bytes > TRACE_PAGE_BYTES)
      return `an access of ${bytes} bytes: expected 1 to ${TRACE_PAGE_BYTES}`;
    if (address + bytes > addressLimit)
      return `address 0x${match[2]} is above the 44 bits that a trace may use`;
    const first = Math.floor(address / TRACE_PAGE_BYTES);
    const last = Math.floor((address + bytes - 1) / TRACE_PAGE_BYTES);
    for (const kind of kinds) {
      this.#touch(first, kind, lineNumber);
      if (last !== first) this.#touch(last, kind, lineNumber);
    }
    return null;
  }

  #touch(page: number, kind: number, lineNumber: number): void {
    if (this.full) return;
    this.pages.push(page);
    this.kinds.push(kind);
    if (!this.firstLine.has(page)) this.firstLine.set(page, lineNumber);
  }
}

function unpack(file: string): string {
  const bytes = readBytes(file);
  const name = displayName(file);
  if (bytes.length === 0) throw new UserError(`${name}: the file is empty`);
  if (bytes.length > textBytesMax) throw new UserError(`${name}: more than 256 MiB`);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.toString('latin1');
  try {
    return gunzipSync(bytes, { maxOutputLength: textBytesMax }).toString('latin1');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE')
      throw new UserError(`${name}: more than 256 MiB when unpacked`);
    throw new UserError(`${name}: a truncated or damaged gzip file (${oneLine(message)})`);
  }
}
