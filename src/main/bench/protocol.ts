/**
 * `bench protocol`: write permission faults while a slot logs, which is where the protocols of `mmu_lock` differ most: each vCPU on pages of its
 * own (`own`), or all on the same pages in the same order (`same`), where a vCPU that comes late finds the page writable and does not fault.
 *
 * Can show: one protocol against another on this machine, at this number of vCPUs. Cannot show: how they scale on more cores than there are.
 */
import { PROFILES, type ProfileName } from '../../kvm/profile.ts';
import { statisticsOf } from '../../workers/layout.ts';
import type { Phase, Region } from '../../workers/scenario.ts';
import { FAULT_CLASSES, STATISTICS } from '../../workers/statistics.ts';
import { GuestRunner, measured, type BatchBench } from './batches.ts';
import type { BenchSize } from './bench.ts';
import type { BenchResult } from '../result.ts';
import type { Output } from '../run-options.ts';

const REGIONS = { own: 'partitioned', same: 'shared' } as const satisfies Record<string, Region>;
const NS_PER_SECOND = 1e9;

/** The host takes W from every page, then each vCPU writes its region once. */
function roundOf(region: Region): readonly Phase[] {
  const protect = { name: 'protect', guest: null, hosts: [{ action: 'write-protect', times: 1 }] };
  const write = {
    name: 'write',
    guest: {
      kind: 'pattern',
      pattern: 'sequential',
      slot: 0,
      region,
      touches: null,
      writes: 1,
      stride: 1,
      exponent: 1,
    },
    hosts: [],
  };
  return [protect, write] as readonly Phase[];
}

export async function benchProtocol(size: BenchSize, io: Output): Promise<BenchResult[]> {
  const results: BenchResult[] = [];
  for (const [name, region] of Object.entries(REGIONS)) {
    for (const vcpus of size.vcpus) {
      for (const kvm of Object.keys(PROFILES) as ProfileName[]) {
        if (io.isTTY) io.stderr.write(`protocol/${name} ${kvm}, ${vcpus} vCPUs\n`);
        results.push(await benchOne({ name: `protocol/${name}`, region, vcpus, kvm }, size));
      }
    }
  }
  return results.map((result) => ({ ...result, ratioTo: ratios(result, results) }));
}

async function benchOne(
  one: Pick<BatchBench, 'name' | 'vcpus'> & { readonly region: Region; readonly kvm: ProfileName },
  size: BenchSize,
): Promise<BenchResult> {
  const { region, ...label } = one;
  // As many pages in all, whoever writes them.
  const pages = region === 'shared' ? size.pages / one.vcpus : size.pages;
  const runner = new FaultRunner({
    ...label,
    port: 'wasm',
    batch: 'guest',
    rounds: roundOf(region),
    pages,
    operations: 1,
  });
  try {
    const result = await measured({ ...label, port: 'wasm', operations: 1 }, runner, size);
    return { ...result, perSecond: (one.vcpus * NS_PER_SECOND) / result.p50 };
  } finally {
    await runner.close();
  }
}

/** Nanoseconds of a batch by the faults that it took. */
class FaultRunner extends GuestRunner {
  readonly #vcpus: number;

  constructor(batch: BatchBench) {
    super(batch);
    this.#vcpus = batch.vcpus;
  }

  override async runNs(): Promise<number> {
    const before = this.#faults();
    const ns = await super.runNs();
    return (ns * this.#vcpus) / (this.#faults() - before);
  }

  /** Of all vCPUs, since the world began. */
  #faults(): number {
    const floats = new Float64Array(this.shared.memory.buffer);
    const { layout } = this.shared;
    let faults = 0;
    for (let vcpu = 0; vcpu < this.#vcpus; vcpu++) {
      for (const name of FAULT_CLASSES) {
        const at = statisticsOf(layout, vcpu) + STATISTICS.faults[name].faults;
        faults += floats[at / 8] as number;
      }
    }
    return faults;
  }
}

/** Against the same figure of 5.10, the spin lock. */
function ratios(result: BenchResult, all: readonly BenchResult[]): BenchResult['ratioTo'] {
  const spin = all.find(
    ({ name, vcpus, kvm }) => name === result.name && vcpus === result.vcpus && kvm === '5.10',
  );
  return spin === undefined || spin === result ? {} : { '5.10': result.p50 / spin.p50 };
}
