import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
} from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from './user-error.ts';

/** The folder of the workloads that come with the package. The same from `src/main` and from `dist/main`. */
const shippedFolder: URL = new URL('../../workloads/', import.meta.url);

const textBytesMax = 1024 * 1024;

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EACCES: 'not readable: permission denied',
  ENAMETOOLONG: 'the name is too long',
  ELOOP: 'too many symbolic links',
};

/** How a file is called in messages: relative to the working directory unless that leads out of it. */
export function displayName(file: string): string {
  const name = relative(process.cwd(), file);
  return oneLine(name === '' || name.startsWith('..') ? file : name);
}

/** `text` with control characters escaped, so that a message stays on its line. */
export function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- these are what it looks for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/gu, (char) =>
    JSON.stringify(char).slice(1, -1),
  );
}

/** The whole of a regular file. Throws a UserError that names it. */
export function readBytes(file: string): Buffer {
  const name = displayName(file);
  try {
    // Non-blocking, or the opening of a pipe without a writer would never return.
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      if (stat.isDirectory()) throw new UserError(`${name}: is a directory`);
      if (!stat.isFile()) throw new UserError(`${name}: not a regular file`);
      return readFileSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { code = '', message } = error as NodeJS.ErrnoException;
    throw new UserError(`${name}: ${reasons[code] ?? oneLine(message)}`);
  }
}

/** The text of a small UTF-8 file, not empty and without NUL bytes. Throws a UserError that names it. */
export function readText(file: string): string {
  const name = displayName(file);
  const bytes = readBytes(file);
  if (bytes.length === 0) throw new UserError(`${name}: the file is empty`);
  if (bytes.length > textBytesMax) {
    throw new UserError(
      `${name}: ${bytes.length} bytes is more than a workload file may have (1 MiB)`,
    );
  }
  if (bytes.includes(0)) throw new UserError(`${name}: a binary file, not a workload`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new UserError(`${name}: not UTF-8 text`);
  }
}

/** The file that a workload argument means: a path, or else the name of a shipped workload or litmus, with or without `.yaml`. */
export function findWorkload(argument: string): string {
  if (argument === '') throw new UserError('WORKLOAD: an empty name');
  if (argument.includes('\0')) throw new UserError('WORKLOAD: a name with a NUL character');
  if (existsSync(argument)) return argument;
  const name = argument.replace(/^workloads\//u, '').replace(/\.yaml$/u, '');
  const names = shippedWorkloads();
  if (names.includes(name) || [...shippedLitmus(), ...shippedPairs()].includes(name))
    return fileURLToPath(new URL(`${name}.yaml`, shippedFolder));
  throw new UserError(
    `${oneLine(argument)}: no such file, and no workload of that name comes with faultline (${names.join(', ')})`,
  );
}

/** The names of the workloads that come with the package, in order. */
export function shippedWorkloads(): string[] {
  return namesIn(shippedFolder);
}

/** The same of what is small enough to be explored to the end: `litmus/NAME`. */
export function shippedLitmus(): string[] {
  return namesUnder('litmus');
}

/** The same of what is right and wrong about one thing: `good/VERDICT`, `bad/VERDICT`. */
function shippedPairs(): string[] {
  return namesUnder('good').concat(namesUnder('bad'));
}

/** Of a folder below, each with that before it. */
function namesUnder(folder: string): string[] {
  return namesIn(new URL(`${folder}/`, shippedFolder)).map((name) => `${folder}/${name}`);
}

function namesIn(folder: URL): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -'.yaml'.length))
    .toSorted();
}
