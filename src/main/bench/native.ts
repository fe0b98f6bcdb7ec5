/**
 * The C program of bench/native, built and run as a child process: what a benchmark of page-table operations is compared with in the
 * same run.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { PgtableOperation } from '../../workers/bench-pgtable.ts';
import type { Output } from '../run-options.ts';

/** The same place from `src/main` and from `dist/main`. */
const SOURCE = fileURLToPath(new URL('../../../bench/native/pgtable.c', import.meta.url));

export class NativeProgram {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  private constructor(child: ChildProcess, answers: AsyncIterator<string>) {
    this.#child = child;
    this.#answers = answers;
  }

  /** Builds with `$CC`, or `cc`, and starts the program; null, with a note on standard error, where that is impossible. */
  static start({ stderr }: Pick<Output, 'stderr'>): NativeProgram | null {
    const cc = process.env['CC'] ?? 'cc';
    const folder = mkdtempSync(join(tmpdir(), 'faultline-native-'));
    try {
      const binary = join(folder, 'pgtable');
      const reason = build(cc, binary);
      const native = reason === null ? NativeProgram.#run(binary) : null;
      if (native === null)
        stderr.write(`no comparison with C: ${cc}: ${reason ?? 'its program does not start'}\n`);
      return native;
    } finally {
      // A program that runs needs no name.
      rmSync(folder, { recursive: true });
    }
  }

  static #run(binary: string): NativeProgram | null {
    const child = spawn(binary, { stdio: ['pipe', 'pipe', 'inherit'] });
    // Without a process there is nothing else to say: a temporary folder may forbid programs.
    child.on('error', () => {});
    if (child.pid === undefined) return null;
    const lines = createInterface({ input: child.stdout });
    return new NativeProgram(child, lines[Symbol.asyncIterator]());
  }

  /** Nanoseconds of the timed part of one batch. */
  async runNs(operation: PgtableOperation, pages: number): Promise<number> {
    this.#child.stdin?.write(`${operation} ${pages}\n`);
    const answer = await this.#answers.next();
    if (answer.done === true) throw new Error(`the C program ended at ${operation} ${pages}`);
    return Number(answer.value);
  }

  close(): void {
    this.#child.stdin?.end();
  }
}

/** Builds the program; null, or why not. */
function build(cc: string, binary: string): string | null {
  const argv = ['-std=c11', '-O2', '-o', binary, SOURCE];
  const { status, error, stderr } = spawnSync(cc, argv, { encoding: 'utf8' });
  if (status === 0) return null;
  return error?.message ?? (stderr.trim().split('\n')[0] || `status ${status}`);
}
