/** vCPUs on CPUs that they share, and VMIDs that run out: schedules by hand, each with the step that it is about left out. */
import { describe, expect, test } from 'vitest';
import { Order, drive, explore, load32, store32, wait, type Op, type Word } from '#port';
import { EventKind, type EventSink } from '../../src/engine/events.ts';
import { Execution, type Pending, type Scheduler } from '../../src/engine/execution.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { SharedCpuRun } from '../../src/kvm/shared-cpu-run.ts';
import type { VmidAllocator, VmidParts } from '../../src/kvm/vmid/vmid-allocator.ts';
import { VmidBitmap } from '../../src/kvm/vmid/vmid-bitmap.ts';
import { VmidCounter } from '../../src/kvm/vmid/vmid-counter.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import type { Ipa } from '../../src/machine/address.ts';
import { CpuWord } from '../../src/machine/cpu-words.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { ANSWER_BYTES, IN_HOST, Interconnect } from '../../src/machine/tlbi.ts';
import { statisticsOf } from '../../src/workers/layout.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { physicalCpus, runQueueOf, worldOf, type World } from '../../src/workers/world.ts';
import { Guest, Lab, RAM } from '../support/lab.ts';
import { must } from '../support/tiny-machine.ts';
import { VmidChecker } from '../support/vmid-checker.ts';

/** VMIDs that a machine of this test can give out. */
const VMIDS = 15;

type Allocator = (parts: VmidParts) => VmidAllocator;
const counter: Allocator = (parts) => new VmidCounter(parts);
const bitmap: Allocator = (parts) => new VmidBitmap(parts);

/** Two VMs; vCPUs 0 and 2 are the first one's. */
class Machine {
  readonly lab: Lab;
  readonly checker: VmidChecker;
  readonly #allocator: Allocator;

  constructor(cpus: number, allocator: Allocator = counter) {
    const features = { ...PLAIN_4K.features, vmidBits: 4 } as const;
    const machine = { ...PLAIN_4K, cpus, features };
    this.lab = new Lab({ vcpus: 4, vms: 2, machine });
    this.#allocator = allocator;
    const { answers } = this.lab.world.layout.interconnect;
    this.checker = new VmidChecker((line) => (line - answers) / ANSWER_BYTES);
  }

  /** A vCPU, by its number on the machine. */
  vcpu(id: number, world: World = this.view(id)): SharedCpuRun {
    return new SharedCpuRun({
      id,
      vm: world.vm,
      cpus: physicalCpus(world),
      queue: runQueueOf(world),
      vmids: this.vmids(world),
    });
  }

  view(agent: number): World {
    return worldOf(this.lab.world.scenario, this.lab.world.layout, agent);
  }

  vmids({ layout, interconnect, scenario }: World): VmidAllocator {
    const { vmidBits } = scenario.machine.features;
    const lock = new SpinLock(layout.locks.vmid_lock, layout.agents, STATISTICS.locks.vmid_lock);
    return this.#allocator({ layout: layout.vmids, vmidBits, lock, interconnect });
  }

  /** Other VMs take `count` VMIDs and are gone. */
  *strangers(agent: number, count: number): Op<void> {
    const world = this.view(agent);
    const vmids = this.vmids(world);
    for (let i = 0; i < count; i++) {
      const word = world.layout.shortLivedVmids;
      new Int32Array(this.lab.shared.memory.buffer).fill(0, word / 4, word / 4 + 2);
      yield* vmids.update(word, 1);
      yield* vmids.release(1);
    }
  }

  /** Maps the first page of both VMs, with VMIDs 0: nothing of it is in any TLB that counts. */
  populate(): void {
    for (const vm of [0, 1]) drive(new Guest(this.lab, vm).touch(RAM, 'write'));
  }

  play(script: readonly ScriptLine[], agents: readonly (() => Op<void>)[]): string {
    const scheduler = new Scripted(script);
    const outcome = this.playBy(scheduler, agents);
    must(scheduler.linesDone === script.length, `line ${scheduler.linesDone} of the script`);
    return outcome;
  }

  playBy(scheduler: Scheduler, agents: readonly (() => Op<void>)[]): string {
    const sinks: EventSink[] = [this.checker];
    const specs = agents.map((start, id) => ({
      name: `agent ${id}`,
      statistics: statisticsOf(this.lab.world.layout, id),
      start,
    }));
    const result = explore(new Execution({ agents: specs, scheduler, stepsMax: 20_000, sinks }));
    return result.outcome;
  }

  local(agent: number): number {
    return this.lab.counter(agent, STATISTICS.tlbi.local);
  }
}

const toEnd = (agent: number): ScriptLine => ({ agent, toEnd: true });
const until = (agent: number, at: Word, kind?: number): ScriptLine => ({
  agent,
  until: (pending: Pending) => pending.at === at && (kind ?? pending.kind) === pending.kind,
});

/** One access of each vCPU in turn on the only CPU; the local invalidations of each. */
function inTurn(ids: readonly number[]): number[] {
  const machine = new Machine(1);
  machine.populate();
  return ids.map((id) => {
    const before = machine.local(0);
    machine.play(
      [],
      [
        function* () {
          const run = machine.vcpu(id);
          yield* run.load();
          yield* run.enter();
          yield* run.cpu.access(RAM as Ipa, 'read');
          yield* run.exit();
          yield* run.put();
        },
      ],
    );
    expect([...machine.checker.findings]).toEqual([]);
    return machine.local(0) - before;
  });
}

describe('a vCPU that comes to a CPU', () => {
  test('finds nothing that another vCPU of its VM left', () => {
    expect(inTurn([0, 2, 0])).toEqual([0, 1, 1]);
  });

  test('finds what it left itself, whatever another VM did there meanwhile', () => {
    expect(inTurn([0, 0, 1, 0, 1])).toEqual([0, 0, 0, 0, 0]);
  });

  test('is told if it is another CPU than before', () => {
    const machine = new Machine(2);
    const [first, third] = [machine.vcpu(0), machine.vcpu(2)];
    expect(drive(first.load())).toBe(false);
    expect(drive(third.load())).toBe(true);
    drive(first.put());
    drive(third.put());
    expect(drive(third.load())).toBe(false);
  });

  test('has to be put before it comes to another one', () => {
    const run = new Machine(2).vcpu(0);
    expect(() => drive(run.put())).toThrow('vCPU put without a CPU');
    drive(run.load());
    expect(() => drive(run.load())).toThrow('vCPU loaded twice');
  });
});

/** Waits for every CPU, whatever it does. */
class Overcautious extends Interconnect {
  override *dsbIsh(): Op<void> {
    for (let cpu = 0; cpu < this.layout.cpus; cpu++) {
      const answer = this.answerOf(cpu);
      while ((yield* load32(answer, Order.acquire)) === IN_HOST) yield* wait(answer, IN_HOST);
    }
    yield* super.dsbIsh();
  }
}

/** A vCPU has run and is gone; what does an invalidation do? */
function afterPut(isOvercautious: boolean): string {
  const machine = new Machine(2);
  machine.populate();
  return machine.play(
    [toEnd(0)],
    [
      function* () {
        const run = machine.vcpu(0);
        yield* run.load();
        yield* run.enter();
        yield* run.cpu.access(RAM as Ipa, 'read');
        yield* run.exit();
        yield* run.put();
      },
      function* () {
        const { vm, interconnect } = machine.view(1);
        yield* vm.parts.mmu.tlbFlushVmid();
        if (isOvercautious)
          yield* new Overcautious(interconnect.layout, interconnect.statistics).dsbIsh();
      },
    ],
  );
}

describe('a DSB', () => {
  test('does not wait for a CPU that sleeps', () => {
    expect(afterPut(false)).toBe('completed');
  });

  test('would wait for ever if it did', () => {
    expect(afterPut(true)).toBe('deadlock');
  });

  test('waits for a CPU in the guest, whose vCPU it finds at its boundary or gone', () => {
    const machine = new Machine(2);
    machine.populate();
    const mark = machine.lab.world.layout.words.logActions;
    const order: string[] = [];
    const result = machine.play(
      [until(0, mark), toEnd(1)],
      [
        function* () {
          const run = machine.vcpu(0);
          yield* run.load();
          yield* run.enter();
          yield* run.cpu.access(RAM as Ipa, 'read');
          yield* store32(mark, 1, Order.once);
          order.push('guest goes');
          yield* run.exit();
          yield* run.put();
        },
        function* () {
          yield* machine.view(1).vm.parts.mmu.tlbFlushVmid();
          order.push('flushed');
        },
      ],
    );
    expect([result, ...order]).toEqual(['completed', 'guest goes', 'flushed']);
  });
});

/** Enters whatever happened since its VMID was looked at. */
class Hasty extends VmidCounter {
  // oxlint-disable-next-line require-yield -- what it stands for does.
  override *mayEnter(): Op<boolean> {
    return true;
  }
}

/** Knows of no CPU: interrupts none, and keeps no VMID for any. */
const blind =
  (allocator: Allocator): Allocator =>
  (parts) => {
    const { layout, statistics } = parts.interconnect;
    const interconnect = new Interconnect({ ...layout, cpus: 0 }, statistics);
    return allocator({ ...parts, interconnect });
  };

/** A vCPU of the first VM, which looks for interrupts before each of some accesses. */
function* runner(machine: Machine, id: number, accesses: number, mark: Word): Op<void> {
  const run = machine.vcpu(id);
  yield* run.load();
  yield* run.enter();
  for (let i = 0; i < accesses; i++) {
    while (yield* run.isKicked()) {
      yield* run.exit();
      yield* run.enter();
    }
    yield* run.cpu.access(RAM as Ipa, 'read');
    yield* store32(mark, i, Order.once);
  }
  yield* run.exit();
  yield* run.put();
}

/** A vCPU that often leaves its guest. */
function* restless(machine: Machine, id: number, mark: Word): Op<void> {
  for (let i = 0; i < 8; i++) yield* runner(machine, id, 2, mark);
}

/**
 * The first VM has VMID 1 and is in its guest. Others take all the rest and begin a generation; the second VM is the first to get a VMID of
 * it that is free.
 */
function whileInGuest(allocator: Allocator): string[] {
  const machine = new Machine(2, allocator);
  machine.populate();
  const { logActions: mark, protectEpoch: other } = machine.lab.world.layout.words;
  const second = function* (): Op<void> {
    yield* machine.strangers(1, VMIDS - 1);
    yield* runner(machine, 1, 2, other);
  };
  const script = [until(0, mark), toEnd(1)];
  const result = machine.play(script, [() => runner(machine, 0, 3, mark), second]);
  return [result, ...machine.checker.findings];
}

/** The same while the first VM is on its way: it has a VMID, and interrupts are on. */
function whileEntering(allocator: Allocator): string[] {
  const machine = new Machine(2, allocator);
  machine.populate();
  const { layout } = machine.lab.world;
  const { logActions: mark, protectEpoch: other } = layout.words;
  const first = function* (): Op<void> {
    yield* runner(machine, 0, 1, mark);
    yield* runner(machine, 0, 2, mark);
  };
  const second = function* (): Op<void> {
    yield* machine.strangers(1, VMIDS - 1);
    yield* runner(machine, 1, 2, other);
  };
  const requests = layout.interconnect.answers + CpuWord.requests;
  // Twice: `disable` of the first and of the second entry looks there first; the loop of the first run looks once between them.
  const script = [
    until(0, mark),
    { agent: 0, steps: 1 },
    until(0, requests),
    until(1, other),
    toEnd(0),
  ];
  const result = machine.play(script, [first, second]);
  return [result, ...machine.checker.findings];
}

describe('a rollover', () => {
  test.each([
    ['a counter', counter],
    ['a bitmap', bitmap],
  ])('of %s leaves no two VMs with one VMID', (_, allocator) => {
    expect(whileInGuest(allocator)).toEqual(['completed']);
  });

  test.each([
    ['a counter that interrupts nobody', blind(counter)],
    ['a bitmap that reserves nothing', blind(bitmap)],
  ])('of %s does', (_, allocator) => {
    expect(whileInGuest(allocator)).toEqual(['completed', 'two VMs have one VMID']);
  });

  test.each([
    ['a counter', counter],
    ['a bitmap', bitmap],
  ])('of %s is survived under any schedule', (_, allocator) => {
    const machine = new Machine(2, allocator);
    machine.populate();
    const { logActions: mark } = machine.lab.world.layout.words;
    machine.lab.shared.explore.baseline();
    for (let seed = 0; seed < 200; seed++) {
      machine.lab.shared.explore.restore();
      machine.checker.begin();
      const outcome = machine.playBy(new RandomScheduler(seed), [
        () => restless(machine, 0, mark),
        () => restless(machine, 1, mark),
        () => machine.strangers(2, 3 * (VMIDS - 1)),
      ]);
      expect([seed, outcome, ...machine.checker.findings]).toEqual([seed, 'completed']);
    }
  });

  test('of a bitmap leaves a VMID that runs to its VM, over several generations', () => {
    const machine = new Machine(2, bitmap);
    const { vmid } = machine.lab.world.layout.words;
    const given: number[] = [];
    machine.play(
      [],
      [
        function* () {
          const world = machine.view(0);
          for (let i = 0; i < 3; i++) {
            yield* machine.vmids(world).update(vmid, 0);
            given.push(yield* world.vm.parts.mmu.vmid());
            yield* machine.strangers(1, (i + 1) * VMIDS);
          }
        },
      ],
    );
    expect(given).toEqual([1, 1, 1]);
  });

  test('of a bitmap is seen by an entry that had found its VMID current', () => {
    const machine = new Machine(2, bitmap);
    const { vmids } = machine.lab.world.layout;
    const [first, second] = [machine.view(0), machine.view(1)];
    const entry = function* (): Op<void> {
      const allocator = machine.vmids(first);
      yield* allocator.update(first.vm.parts.mmu.vmidWord, 0);
      yield* allocator.release(0);
      yield* allocator.update(first.vm.parts.mmu.vmidWord, 0);
    };
    const others = function* (): Op<void> {
      yield* machine.strangers(1, VMIDS - 1);
      yield* machine.vmids(second).update(second.vm.parts.mmu.vmidWord, 1);
    };
    // CPU 0 is idle: nothing is kept for it.
    const script = [until(0, vmids.cpus, EventKind.cas64), toEnd(1)];
    expect(machine.play(script, [entry, others])).toBe('completed');
    const given = [first, second].map(({ vm }) => drive(vm.parts.mmu.vmid()));
    expect(given).toEqual([2, 1]);
  });

  test('is seen by an entry that was on its way', () => {
    expect(whileEntering(counter)).toEqual(['completed']);
    expect(whileEntering(bitmap)).toEqual(['completed']);
  });

  test('is missed by an entry that does not look once more', () => {
    expect(whileEntering((parts) => new Hasty(parts))).toEqual([
      'completed',
      'two VMs have one VMID',
    ]);
  });
});

describe('a generation', () => {
  test.each([
    ['a counter', counter],
    ['a bitmap', bitmap],
  ])('of %s gives each VM a VMID of its own, and none the host’s', (_, allocator) => {
    const machine = new Machine(2, allocator);
    const flushes = (): number => machine.lab.counter(0, STATISTICS.tlbi.all);
    const given: number[] = [];
    machine.play(
      [],
      [
        function* () {
          const world = machine.view(0);
          const vmids = machine.vmids(world);
          const word = world.layout.shortLivedVmids;
          const words = new Int32Array(machine.lab.shared.memory.buffer);
          for (let i = 0; i < VMIDS; i++) {
            words.fill(0, word / 4, word / 4 + 2);
            yield* vmids.update(word, 0);
            yield* vmids.release(0);
            given.push(words[word / 4] as number);
          }
          expect(flushes()).toBe(0);
          yield* vmids.update(word, 0);
          given.push(words[word / 4] as number);
          words.fill(0, word / 4, word / 4 + 2);
          yield* vmids.update(word, 0);
        },
      ],
    );
    const all = Array.from({ length: VMIDS }, (_each, i) => i + 1);
    expect(given).toEqual([...all, VMIDS]);
    expect(flushes()).toBe(1);
  });
});
