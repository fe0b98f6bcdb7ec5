/** Where a workload is read from: its own file, or that of another workload whose code it runs edited. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { displayName, findWorkload, readText } from '../input-file.ts';
import { YamlSource } from '../yaml-source.ts';
import { checkAgainst } from './schema.ts';

export interface WorkloadSource {
  /** The document that is the workload, and the folder that its traces are in. */
  readonly source: YamlSource;
  readonly folder: string;
  /** The document with the edits; null for the code as it is. */
  readonly edited: YamlSource | null;
}

/** A file that is another workload but for the code. `edits` are looked at where they are applied. */
const extension = z.strictObject({ extends: z.string().min(1), edits: z.unknown().optional() });

/** Reads what a WORKLOAD argument means. Throws a UserError of one line. */
export function workloadSource(argument: string): WorkloadSource {
  const file = findWorkload(argument);
  const source = sourceIn(file);
  if (!has(source, 'extends'))
    return { source, folder: dirname(file), edited: has(source, 'edits') ? source : null };
  const base = join(dirname(file), checkAgainst(source, extension).extends);
  if (!existsSync(base)) throw source.problem(['extends'], `${displayName(base)}: no such file`);
  const extended = sourceIn(base);
  for (const key of ['extends', 'edits']) {
    if (has(extended, key))
      throw source.problem(['extends'], `${displayName(base)} has ${key} of its own`);
  }
  return { source: extended, folder: dirname(base), edited: source };
}

function sourceIn(file: string): YamlSource {
  return new YamlSource(displayName(file), readText(file));
}

function has({ value }: YamlSource, key: string): boolean {
  return typeof value === 'object' && value !== null && key in value;
}
