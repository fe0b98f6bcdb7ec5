/**
 * `bench pgtable`: page-table operations, page by page and over a range of 1 GiB, one vCPU, each right before the same operation of a C
 * program with the same algorithm.
 *
 * Can show: what the language and the model cost over native code. Cannot show: what the kernel takes, whose atomics are weaker, and
 * whose TLB is not simulated.
 */
import type { PgtableOperation } from '../../workers/bench-pgtable.ts';
import { benchBatches, measured, type BatchBench } from './batches.ts';
import { NativeProgram } from './native.ts';
import type { BenchSize } from './bench.ts';
import type { BenchResult } from '../result.ts';
import type { Output } from '../run-options.ts';

type Bench = Pick<BatchBench, 'name' | 'pages' | 'operations'> & {
  readonly batch: PgtableOperation;
};

export async function benchPgtable(size: BenchSize, io: Output): Promise<BenchResult[]> {
  const native = NativeProgram.start(io);
  const results: BenchResult[] = [];
  try {
    for (const bench of benches(size)) {
      if (io.isTTY) io.stderr.write(`${bench.name}\n`);
      results.push(...(await compared(bench, native, size)));
    }
  } finally {
    native?.close();
  }
  return results;
}

/** `page`: a call for each page; `range`: one call for all of them, but for ageing. */
function benches({ pages, rangePages }: BenchSize): Bench[] {
  const page = (name: string, batch: PgtableOperation): Bench => {
    return { name: `pgtable/page-${name}`, batch, pages, operations: pages };
  };
  const range = (name: string, batch: PgtableOperation): Bench => {
    return { name: `pgtable/range-${name}`, batch, pages: rangePages, operations: rangePages };
  };
  return [
    page('map', 'map'),
    page('map-random', 'mapRandom'),
    page('relax', 'relax'),
    page('mkyoung', 'mkyoung'),
    range('map', 'mapRange'),
    range('wrprotect', 'wrprotect'),
    range('unmap', 'unmap'),
    range('age', 'age'),
  ];
}

async function compared(
  bench: Bench,
  native: NativeProgram | null,
  size: BenchSize,
): Promise<BenchResult[]> {
  const ours = await benchBatches({ ...bench, port: 'wasm', vcpus: 1, rounds: [] }, size);
  if (native === null) return [ours];
  const runNs = async (): Promise<number> => native.runNs(bench.batch, bench.pages);
  const theirs = await measured({ ...bench, port: 'native', vcpus: 1 }, { runNs }, size);
  return [{ ...ours, ratioTo: { native: ours.p50 / theirs.p50 } }, theirs];
}
