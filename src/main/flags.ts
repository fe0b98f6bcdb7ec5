import type { Command } from 'commander';
import { PROFILES, type ProfileName } from '../kvm/profile.ts';
import type { SourceEdit } from './edits.ts';
import { UserError } from './user-error.ts';
import type { YamlSource } from './yaml-source.ts';

export const WORKLOAD = 'a workload file, or the name of one that comes with faultline';
export const seedMax: number = 2 ** 32 - 1;
export const secondsMax = 86_400;
export const profiles: readonly ProfileName[] = Object.keys(PROFILES) as ProfileName[];

/** Reads a whole number between two bounds from the command line; the UserError names the flag. */
export function wholeNumber(flag: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/u.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new UserError(
      `${flag}: expected a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`,
    );
  };
}

/** Reads a duration in seconds, as `2` or `0.5`; the UserError names the flag. */
export function seconds(flag: string, max: number): (text: string) => number {
  return (text) => {
    const value = /^(?:\d+(?:\.\d*)?|\.\d+)$/u.test(text) ? Number(text) : Number.NaN;
    if (value > 0 && value <= max) return value;
    throw new UserError(
      `${flag}: expected seconds, more than 0 and at most ${max}, not ${JSON.stringify(text)}`,
    );
  };
}

/** Reads one of a few words; the UserError names the flag and the words. */
export function oneOf<T extends string>(flag: string, words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((known) => known === text);
    if (word !== undefined) return word;
    throw new UserError(
      `${flag}: ${JSON.stringify(text)} is not known (known: ${words.join(', ')})`,
    );
  };
}

export interface EditFlags {
  /** Files. */
  readonly edit: readonly string[];
}

export function withEdits(command: Command): Command {
  return command.option(
    '--edit <file>',
    'change the code under test by the edits of a file, for this run only; may be repeated',
    (file: string, files: readonly string[]) => [...files, file],
    [],
  );
}

/** Those of a workload that has `edits`, then those of the flags. The strippers that check them are loaded only where there are any. */
export async function editsOf(
  { edit: files }: EditFlags,
  edited: YamlSource | null,
): Promise<readonly SourceEdit[] | undefined> {
  if (files.length === 0 && edited === null) return undefined;
  return (await import('./edits-file.ts')).loadEdits(files, edited);
}
