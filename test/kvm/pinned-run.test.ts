/** A vCPU with a CPU of its own: what entering and leaving the guest costs, and who is one. */
import { describe, expect, test } from 'vitest';
import { drive, type Op } from '#port';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { PinnedRun } from '../../src/kvm/pinned-run.ts';
import { SharedCpuRun } from '../../src/kvm/shared-cpu-run.ts';
import type { Ipa } from '../../src/machine/address.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { vcpuRunOf } from '../../src/workers/world.ts';
import { Guest, Lab, RAM } from '../support/lab.ts';

const SHORT_LIVED = {
  name: 'others',
  guest: null,
  hosts: [{ action: 'short-lived-vm', times: 1 }],
} as const;

/** No steps: events of the checkers, and plain accesses. */
const NO_STEPS: ReadonlySet<number> = new Set([
  EventKind.guestEnter,
  EventKind.guestExit,
  EventKind.read32,
  EventKind.write32,
]);

/** Steps of an execution of one agent, by kind. */
function stepsOf(lab: Lab, act: () => Op<unknown>): readonly number[] {
  return lab
    .run(new Scripted([]), [act])
    .map(({ kind }) => kind)
    .filter((kind) => !NO_STEPS.has(kind));
}

describe('a vCPU with a CPU of its own', () => {
  test('enters and leaves the guest by one store each', () => {
    const lab = new Lab();
    const run = vcpuRunOf(lab.view(0), 0);
    expect(run).toBeInstanceOf(PinnedRun);
    drive(run.load());
    expect(stepsOf(lab, () => run.enter())).toEqual([EventKind.store32]);
    expect(stepsOf(lab, () => run.isKicked())).toEqual([]);
    expect(stepsOf(lab, () => run.isContended())).toEqual([]);
    expect(stepsOf(lab, () => run.exit())).toEqual([EventKind.signal]);
    expect(stepsOf(lab, () => run.put())).toEqual([]);
    expect(stepsOf(lab, () => run.load())).toEqual([]);
  });

  test('has the VMID that its VM was given first, as all vCPUs of the VM', () => {
    const lab = new Lab({ vcpus: 2 });
    const runs = [0, 1].map((id) => vcpuRunOf(lab.view(id), id));
    expect(runs.map((run) => drive(run.load()))).toEqual([false, false]);
    expect(runs.map(({ cpu }) => cpu.vmid)).toEqual([1, 1]);
  });

  test('walks the table of its VM, on its own CPU', () => {
    const lab = new Lab({ vcpus: 2 });
    drive(new Guest(lab, 0).touch(RAM, 'write'));
    const run = vcpuRunOf(lab.view(1), 1);
    drive(run.load());
    drive(run.enter());
    const at = drive(run.cpu.access(RAM as Ipa, 'read'));
    expect(lab.world.memory.ownerAt(at)).toBe(
      lab.world.vm.parts.host.ownerTags(lab.slot.hva, 1)[0],
    );
    drive(run.exit());
    expect(drive(vcpuRunOf(lab.view(0), 0).load())).toBe(false);
  });

  test('of a VM whose table is gone loads nothing, and tries again', () => {
    const lab = new Lab();
    const run = vcpuRunOf(lab.view(0), 0);
    drive(lab.world.vm.freeStage2());
    expect(drive(run.load())).toBe(false);
    expect(run.cpu.vmid).toBe(0);
    drive(lab.world.vm.initStage2());
    drive(run.load());
    // The second life of a VM has a VMID of its own.
    expect(run.cpu.vmid).toBe(2);
  });

  test.each<[string, Partial<Scenario>]>([
    ['a machine with a number of CPUs', { vcpus: 2, machine: { ...PLAIN_4K, cpus: 2 } }],
    ['more than one VM', { vcpus: 2, vms: 2 }],
    ['other VMs that come and go', { rounds: [SHORT_LIVED] }],
  ])('is none with %s', (_, overrides) => {
    expect(vcpuRunOf(new Lab(overrides).view(0), 0)).toBeInstanceOf(SharedCpuRun);
  });
});
