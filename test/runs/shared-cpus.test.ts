/** vCPUs of several VMs on fewer CPUs, with so few VMIDs that generations follow one another: invariants 26 and 27. */
import { describe, expect, test, vi } from 'vitest';
import { explore, read32, type Op } from '#port';
import { Execution } from '../../src/engine/execution.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { agentsOfRun } from '../../src/main/run-explore.ts';
import { createSharedWorld } from '../../src/main/shared-world.ts';
import { verify } from '../../src/main/verify/verify.ts';
import { PROFILES } from '../../src/kvm/profile.ts';
import { Stage2Mmu } from '../../src/kvm/stage2-mmu.ts';
import type { VmidAllocator, VmidParts } from '../../src/kvm/vmid/vmid-allocator.ts';
import { VmidBitmap } from '../../src/kvm/vmid/vmid-bitmap.ts';
import { VmidCounter } from '../../src/kvm/vmid/vmid-counter.ts';
import { ANSWER_BYTES, Interconnect } from '../../src/machine/tlbi.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { statisticsOf } from '../../src/workers/layout.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { VmidChecker } from '../support/vmid-checker.ts';
import { runSmall, small, verdictsOf } from './small.ts';

/** What `seeds` executions of a scenario came to, or those up to the first finding. */
function explored(scenario: Scenario, seeds: number) {
  const shared = createSharedWorld(scenario);
  const { layout, memory } = shared;
  const answers = layout.interconnect.answers;
  const checker = new VmidChecker((line) => (line - answers) / ANSWER_BYTES);
  const floats = new Float64Array(memory.buffer);
  const sum = (offset: number): number =>
    Array.from({ length: layout.agents }, (_, agent) => agent)
      .map((agent) => floats[(statisticsOf(layout, agent) + offset) / 8] as number)
      .reduce((total, n) => total + n, 0);
  shared.explore.baseline();
  const totals = { moves: 0, local: 0, strays: 0, stale: 0, generations: 0 };
  const problems: string[] = [];
  for (let seed = 1; seed <= seeds && checker.findings.size === 0; seed++) {
    shared.explore.restore();
    checker.begin();
    const options = { agents: agentsOfRun(shared, seed), stepsMax: 5_000_000, sinks: [checker] };
    const result = explore(new Execution({ ...options, scheduler: new RandomScheduler(seed) }));
    if (result.outcome !== 'completed') problems.push(`seed ${seed}: ${JSON.stringify(result)}`);
    totals.moves += sum(STATISTICS.moves);
    totals.local += sum(STATISTICS.tlbi.local);
    totals.strays += sum(STATISTICS.strayAccesses);
    totals.stale += sum(STATISTICS.staleReads);
    totals.generations += read32(layout.words.vmidGeneration);
    problems.push(...verify(shared.worlds).findings.map(({ message }) => message));
  }
  return { checker, totals, problems };
}

describe('two VMs and eight vCPUs on two CPUs with VMIDs of 4 bits', () => {
  const scenario = small('shared-cpus');

  test('are what the workload says', () => {
    const { vcpus, vms, machine } = scenario;
    expect({ vcpus, vms, cpus: machine.cpus, bits: machine.features.vmidBits }).toEqual({
      vcpus: 8,
      vms: 2,
      cpus: 2,
      bits: 4,
    });
  });

  test('meet no stale translation, and no entry of another', () => {
    const { checker, totals, problems } = explored(scenario, 10);
    expect(problems).toEqual([]);
    expect([...checker.findings]).toEqual([]);
    expect([totals.strays, totals.stale]).toEqual([0, 0]);
    // The schedules are worth something: vCPUs moved, CPUs changed hands, generations passed, and entries were used again.
    expect(totals.moves).toBeGreaterThan(50);
    expect(totals.local).toBeGreaterThan(50);
    expect(totals.generations).toBeGreaterThan(10);
    expect(checker.seen.reuses).toBeGreaterThan(300);
    expect(checker.seen.vmids.size).toBeGreaterThan(5);
  });

  test('the same with one CPU for all', () => {
    const { checker, problems } = explored(
      { ...scenario, machine: { ...scenario.machine, cpus: 1 } },
      5,
    );
    expect([problems, [...checker.findings]]).toEqual([[], []]);
  });

  test('pass on threads', async () => {
    const result = await runSmall(scenario, { engine: 'threads' });
    expect(verdictsOf(result)).toEqual([]);
    expect(result.tlbi.all).toBeGreaterThan(0);
  });
});

/** Runs with other parts in the place of those of the profile; restores them. */
function with510(vmids: (parts: VmidParts) => VmidAllocator, seeds: number) {
  const spy = vi.spyOn(PROFILES['5.10'], 'vmids').mockImplementation(vmids);
  try {
    return explored(small('shared-cpus'), seeds);
  } finally {
    spy.mockRestore();
  }
}

/** TLBI ALLE1IS does nothing. */
class Forgetful extends Interconnect {
  // oxlint-disable-next-line require-yield -- what it stands for does.
  override *tlbi(): Op<void> {}
}

const forgetful = (parts: VmidParts): VmidParts => ({
  ...parts,
  interconnect: new Forgetful(parts.interconnect.layout, parts.interconnect.statistics),
});
/** Knows of no CPU, and so interrupts none. */
const blind = (parts: VmidParts): VmidParts => ({
  ...parts,
  interconnect: new Interconnect(
    { ...parts.interconnect.layout, cpus: 0 },
    parts.interconnect.statistics,
  ),
});

describe('VMIDs by bitmap', () => {
  test('hold the same, and stop no guest at a rollover', () => {
    const { checker, totals, problems } = with510((parts) => new VmidBitmap(parts), 10);
    expect([problems, [...checker.findings]]).toEqual([[], []]);
    expect([totals.strays, totals.stale]).toEqual([0, 0]);
    expect(totals.generations).toBeGreaterThan(10);
    expect(checker.seen.reuses).toBeGreaterThan(300);
  });
});

describe('it shows when', () => {
  // The schedule of each, step by step: test/kvm/vcpu-run.test.ts.
  test.each<[string, (parts: VmidParts) => VmidAllocator]>([
    ['a counter empties no TLB at a rollover', (parts) => new VmidCounter(forgetful(parts))],
    ['a counter drives nobody out of the guest', (parts) => new VmidCounter(blind(parts))],
  ])('%s', (_, vmids) => {
    expect([...with510(vmids, 100).checker.findings]).toContain("a guest uses another VM's entry");
  });

  test('a CPU keeps what another vCPU left', () => {
    const spy = vi.spyOn(Stage2Mmu.prototype, 'vcpuLoad').mockImplementation(function* () {});
    const { checker } = explored(small('shared-cpus'), 5);
    spy.mockRestore();
    expect([...checker.findings]).toEqual(["a vCPU uses another vCPU's entry"]);
  });
});
