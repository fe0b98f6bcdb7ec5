/** Litmus files: small programs of their own beside the workloads, told by the key `scenario`. */
import { z } from 'zod';
import type { InstallLitmus } from '../../workers/install-litmus.ts';
import { checkAgainst, identifier } from '../workload/schema.ts';
import type { YamlSource } from '../yaml-source.ts';

const threadsMax = 16;
const faultsMax = 1000;

export interface LitmusFile extends InstallLitmus {
  readonly name: string;
  readonly description: string;
  readonly scenario: 'install';
}

const litmus: z.ZodType<LitmusFile> = z.strictObject({
  name: identifier,
  description: z.string().min(1).max(400),
  scenario: z.literal('install'),
  threads: z.int().min(1).max(threadsMax),
  faults: z.int().min(1).max(faultsMax),
});

export function isLitmus({ value }: YamlSource): boolean {
  return typeof value === 'object' && value !== null && 'scenario' in value;
}

/** @throws UserError about the first field that is wrong. */
export function litmusOf(source: YamlSource): LitmusFile {
  return checkAgainst(source, litmus);
}
