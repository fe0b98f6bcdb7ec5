import { runReport } from './report.ts';
import type { RunResult } from './result.ts';
import type { Commands, Output } from './run-options.ts';
import { ProgressLine } from './progress.ts';
import { loadWorkload } from './workload/workload.ts';

const before = `Faultline simulates how KVM on arm64 handles stage-2 faults, on real threads.

Now running: permission-storm. Four vCPUs, each a thread of its own, fill 16 MiB of guest memory: the first touch of
a page is a translation fault, and the fault handler maps the page. Then the host write-protects all of it, as it
does to learn which pages a guest dirties, and the four vCPUs write the same pages at once: permission faults, while
all of them want the one lock of the page table, mmu_lock.

`;

const after = `
What to look at: "walks each" is how often the fault handler descended the page table in software. The rewritten page
table code takes one walk per permission fault, where the code before it took two when a page was written. "wait" is
what the vCPUs paid for the lock. The last line says whether the page table is what it should be after all of this.

What to run next:
  npx faultline run permission-storm -v 1     one vCPU: the same faults, nobody to wait for
  npx faultline run demand-paging             the cost of the first touch
  npx faultline run write-protect             the host write-protects while the vCPUs write
  npx faultline run real-program              the memory accesses of a real program
  npx faultline run permission-storm --engine explore --seeds 100
                                              the same source in one thread, 100 orders of events, each repeatable
  npx faultline --help                        everything else; workloads/ has the files to start from
`;

const rounds = 8;

/** The first run of a newcomer: a small permission storm with an explanation around it. */
export async function welcome(commands: Commands, io: Output): Promise<RunResult> {
  const scenario = { ...loadWorkload('permission-storm', { explore: false }), repeat: rounds };
  io.stdout.write(before);
  const progress = new ProgressLine(io);
  try {
    const result = await commands.runWorkload(scenario, {
      engine: 'threads',
      port: 'wasm',
      seed: 1,
      seeds: 1,
      seconds: null,
      signal: io.signal,
      onProgress: (state) => progress.update(state),
    });
    io.signal?.throwIfAborted();
    progress.clear();
    io.stdout.write(runReport(result));
    io.stdout.write(after);
    return result;
  } finally {
    progress.clear();
  }
}
