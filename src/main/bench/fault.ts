/**
 * `bench fault`: a fault from guest access to guest resume, an access that hits the TLB, and each page-table operation alone; 1 and 2
 * vCPUs, both ports.
 *
 * Can show: the cost of one design against another on this machine. Cannot show: what hardware takes.
 */
import type { GuestProgram, Phase } from '../../workers/scenario.ts';
import { benchBatches, type BatchBench } from './batches.ts';
import type { BenchSize } from './bench.ts';
import type { BenchResult } from '../result.ts';
import type { Output } from '../run-options.ts';

/** So few that the TLB holds them. */
const HIT_PAGES = 64;

const sequential = {
  kind: 'pattern',
  pattern: 'sequential',
  slot: 0,
  region: 'partitioned',
  touches: null,
  writes: 1,
  stride: 1,
  exponent: 1,
} as const satisfies GuestProgram;

const touch = (program: GuestProgram): Phase => ({ name: 'touch', guest: program, hosts: [] });
const host = (action: 'discard' | 'write-protect'): Phase => {
  return { name: action, guest: null, hosts: [{ action, times: 1 }] };
};

/** What is timed end to end: the guest program of the last phase. The first round also populates. */
function guestBenches({
  pages,
  hits,
}: BenchSize): Pick<BatchBench, 'name' | 'rounds' | 'pages' | 'operations'>[] {
  return [
    {
      name: 'fault/translation',
      rounds: [host('discard'), touch(sequential)],
      pages,
      operations: pages,
    },
    {
      name: 'fault/permission',
      rounds: [host('write-protect'), touch(sequential)],
      pages,
      operations: pages,
    },
    {
      name: 'access/tlb-hit',
      rounds: [touch({ ...sequential, touches: hits })],
      pages: HIT_PAGES,
      operations: hits,
    },
  ];
}

export async function benchFault(size: BenchSize, io: Output): Promise<BenchResult[]> {
  const benches = [...guestBenches(size), ...operationBenches(size.pages)];
  const results: BenchResult[] = [];
  for (const bench of benches) {
    for (const vcpus of size.vcpus) {
      if (io.isTTY) io.stderr.write(`${bench.name}, ${vcpus} vCPUs\n`);
      const wasm = await benchBatches({ batch: 'guest', ...bench, vcpus, port: 'wasm' }, size);
      const js = await benchBatches({ batch: 'guest', ...bench, vcpus, port: 'js' }, size);
      results.push(wasm, { ...js, ratioTo: { wasm: js.p50 / wasm.p50 } });
    }
  }
  return results;
}

type OperationBench = Pick<BatchBench, 'name' | 'rounds' | 'pages' | 'operations' | 'batch'>;

function operationBenches(pages: number): OperationBench[] {
  const operations = ['map', 'relax', 'mkyoung', 'wrprotect', 'unmap'] as const;
  return operations.map((operation) => ({
    name: `pgtable/${operation}`,
    batch: operation,
    rounds: [],
    pages,
    operations: pages,
  }));
}
