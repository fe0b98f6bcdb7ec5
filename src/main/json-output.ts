import { accessSync, constants, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { oneLine } from './input-file.ts';
import type { Output } from './run-options.ts';
import { UserError } from './user-error.ts';

/** Where `--json` sends a document: nowhere (undefined), standard output (`-`) or a file. */
export class JsonOutput {
  readonly #file: string | undefined;

  /** Throws a UserError if the file obviously cannot be written, before a long run rather than after it. */
  constructor(file: string | undefined) {
    this.#file = file;
    if (file !== undefined && file !== '-') checkWritable(file);
  }

  /** Standard output belongs to the document: nothing else may go there. */
  get isStdout(): boolean {
    return this.#file === '-';
  }

  write(document: object, io: Output): void {
    if (this.#file === undefined) return;
    const text = `${JSON.stringify(document, null, 2)}\n`;
    if (this.isStdout) {
      io.stdout.write(text);
      return;
    }
    try {
      writeFileSync(this.#file, text);
    } catch (error) {
      throw problem(this.#file, (error as Error).message);
    }
  }
}

function checkWritable(file: string): void {
  try {
    if (statSync(file, { throwIfNoEntry: false })?.isDirectory())
      throw problem(file, 'is a directory');
    const isThere = statSync(file, { throwIfNoEntry: false }) !== undefined;
    const target = isThere ? file : dirname(file);
    if (!isThere && !statSync(target).isDirectory())
      throw problem(file, 'its folder is not a folder');
    accessSync(target, constants.W_OK);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw problem(file, 'not writable, or its folder does not exist');
  }
}

function problem(file: string, reason: string): UserError {
  return new UserError(`--json: ${oneLine(file)}: ${oneLine(reason)}`);
}
