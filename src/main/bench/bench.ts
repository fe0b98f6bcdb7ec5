/** `faultline bench`: this machine's figures, compared within one run by their ratios. */
import { environment } from '../environment.ts';
import { benchExplore } from './explore.ts';
import { benchFault } from './fault.ts';
import { benchLocks } from './locks.ts';
import { benchPgtable } from './pgtable.ts';
import { benchProtocol } from './protocol.ts';
import { benchSeam } from './seam.ts';
import { benchTraced } from './traced.ts';
import type { BenchDocument, BenchResult } from '../result.ts';
import type { Output } from '../run-options.ts';

/** How much is measured. */
export interface BenchSize {
  /** Pages of a batch: at least 1,000 for a figure that means something. */
  readonly pages: number;
  /** Pages of a range: 1 GiB. */
  readonly rangePages: number;
  /** Accesses of a batch that only hits the TLB. */
  readonly hits: number;
  /** Times that a lock is taken in a batch. */
  readonly lockRounds: number;
  /** Of the executions that make a batch of an exploration some ten milliseconds long: how many. */
  readonly explorations: number;
  /** Timed batches of each benchmark. */
  readonly batches: number;
  /** Batches before them, for the compiler. */
  readonly warmups: number;
  /** Numbers of vCPUs that fault side by side. */
  readonly vcpus: readonly number[];
  /** Numbers of worker threads whose start is measured. */
  readonly workers: readonly number[];
}

const FULL: BenchSize = {
  pages: 4096,
  rangePages: 262_144,
  hits: 65_536,
  lockRounds: 100_000,
  explorations: 1,
  batches: 25,
  warmups: 10,
  vcpus: [1, 2],
  workers: [8, 64],
};

type Group = (size: BenchSize, io: Output) => Promise<BenchResult[]>;
const GROUPS: Readonly<Record<string, Group>> = {
  explore: benchExplore,
  fault: benchFault,
  locks: benchLocks,
  pgtable: benchPgtable,
  protocol: benchProtocol,
  seam: benchSeam,
  traced: benchTraced,
};

/** Runs the named groups. Figures of different runs, or of a busy machine, do not compare. */
export async function bench(
  names: readonly string[],
  io: Output,
  size: BenchSize = FULL,
): Promise<BenchDocument> {
  const before = environment();
  const results: BenchResult[] = [];
  for (const name of names) {
    const group = GROUPS[name];
    if (group === undefined) throw new Error(`no benchmark ${name}`);
    results.push(...(await group(size, io)));
  }
  return { schema: 'faultline.bench/1', environment: before, results };
}
