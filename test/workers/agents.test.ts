/** The agents of a run: guards and acknowledgements of a vCPU, passes of the host, and what the control words promise. */
import { drive, read32, store64, Order, write32 } from '#port';
import { describe, expect, test } from 'vitest';
import { poisonPage } from '../../src/kvm/host/poison.ts';
import { EventKind, RECORD, type EventSink } from '../../src/engine/events.ts';
import { Execution } from '../../src/engine/execution.ts';
import { explore } from '../../src/engine/explore.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import type { Hva } from '../../src/machine/address.ts';
import { agentsOfRun } from '../../src/main/run-explore.ts';
import { loadWorkload } from '../../src/main/workload/workload.ts';
import { createSharedWorld } from '../../src/main/shared-world.ts';
import { AgentFailure } from '../../src/workers/failure.ts';
import { nameOf } from '../../src/workers/agents.ts';
import { HostAgent } from '../../src/workers/host-agent.ts';
import { AccessLog } from '../../src/workers/log.ts';
import { Touch, type Accesses } from '../../src/workers/program.ts';
import type { Phase } from '../../src/workers/scenario.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import runThread from '../../src/workers/thread-entry.ts';
import { VcpuAgent } from '../../src/workers/vcpu-agent.ts';
import { WORDS, type WordName } from '../../src/workers/words.ts';
import { Lab, PAGE, pathOf, RAM, type PathEntry } from '../support/lab.ts';

const OUTSIDE = 0x1000_0000;
/** Of one access, with stage 1 off. */
const FAULTS_MAX = 8;

function accessesOf(...touches: readonly (readonly [page: number, kind: number])[]): Accesses {
  return {
    ipas: Float64Array.from(touches, ([page]) => RAM + page * PAGE),
    pages: Uint32Array.from(touches, ([page]) => page),
    kinds: Uint8Array.from(touches, ([, kind]) => kind),
  };
}

/** A vCPU 0 in its guest; accesses are made in one execution. */
function agentOf(lab: Lab): (accesses: Accesses, sinks?: readonly EventSink[]) => void {
  const agent = new VcpuAgent(lab.view(), 0, 1);
  drive(agent.enter());
  return (accesses, sinks = []) =>
    lab.runWith(new Scripted([]), [() => agent.run(accesses)], sinks);
}

function failureOf(act: () => void): AgentFailure | null {
  try {
    act();
  } catch (error) {
    if (error instanceof AgentFailure) return error;
    throw error;
  }
  return null;
}

/** After every fault the leaf of the first page is gone again; `times` limits that, `pass` counts host passes meanwhile. */
class Saboteur implements EventSink {
  readonly #lab: Lab;
  readonly #pass: boolean;
  #times: number;
  #entry: number = 0;

  constructor(lab: Lab, times: number, pass: boolean) {
    this.#lab = lab;
    this.#times = times;
    this.#pass = pass;
  }

  onEvent(record: Int32Array): void {
    const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
    const at = record[RECORD.location] as number;
    const words = new Int32Array(this.#lab.shared.memory.buffer);
    // The leaf is the only entry stored with the XN bit.
    if (kind === EventKind.store64 && record[RECORD.newHi] === 0x40_0000) this.#entry = at;
    if (kind !== EventKind.faultEnd || this.#times === 0) return;
    this.#times--;
    words[this.#entry / 4] = (words[this.#entry / 4] as number) & ~1;
    if (this.#pass) (words[this.#lab.world.layout.words.protectEpoch / 4] as number)++;
  }
}

describe('the guard against livelock', () => {
  test('ends an access that faults although the host does nothing', () => {
    const lab = new Lab();
    const run = agentOf(lab);
    const saboteur = new Saboteur(lab, Infinity, false);
    const failure = failureOf(() => run(accessesOf([0, Touch.write]), [saboteur]));
    expect(failure?.kind).toBe('livelock');
    expect(failure?.message).toBe(
      'vCPU 0, write of IPA 0x40000000: the access faults again and again although the host changes nothing',
    );
    expect(lab.counter(0, STATISTICS.faults.translation.faults)).toBe(FAULTS_MAX);
  });

  test('lets as many faults pass as it allows', () => {
    const lab = new Lab();
    const run = agentOf(lab);
    run(accessesOf([0, Touch.write]), [new Saboteur(lab, FAULTS_MAX - 1, false)]);
    expect(lab.counter(0, STATISTICS.faults.translation.faults)).toBe(FAULTS_MAX);
  });

  test('starts anew with every pass of the host', () => {
    const lab = new Lab();
    const run = agentOf(lab);
    run(accessesOf([0, Touch.write]), [new Saboteur(lab, 3 * FAULTS_MAX, true)]);
    expect(lab.counter(0, STATISTICS.faults.translation.faults)).toBe(3 * FAULTS_MAX + 1);
  });
});

describe('a vCPU ends the run', () => {
  test.each<[string, number, string]>([
    ['reads', Touch.read, 'read of IPA 0x10000000: no memslot backs the address'],
    ['executes', Touch.exec, 'exec of IPA 0x10000000: the host injected an abort into the guest'],
  ])('when it %s outside the slots', (_, kind, message) => {
    const run = agentOf(new Lab());
    const accesses = { ...accessesOf([0, kind]), ipas: Float64Array.of(OUTSIDE) };
    expect(failureOf(() => run(accesses))?.message).toBe(`vCPU 0, ${message}`);
  });

  test('when the table is gone', () => {
    const lab = new Lab();
    const run = agentOf(lab);
    drive(lab.world.vm.freeStage2());
    expect(failureOf(() => run(accessesOf([0, Touch.read])))?.kind).toBe('fault');
  });

  test('when its memory is broken', () => {
    const lab = new Lab();
    const { host } = lab.world.vm.parts;
    const run = agentOf(lab);
    const { frame } = drive(host.pin(lab.slot.hva, true));
    drive(host.unpin(frame));
    expect(drive(poisonPage(host.mm, lab.slot.hva))).toBe('done');
    const failure = failureOf(() => run(accessesOf([0, Touch.read])));
    expect(failure?.kind).toBe('poisoned');
    expect(failure?.message).toMatch(/^vCPU 0, read of IPA 0x40000000: .*SIGBUS/);
  });

  test('when the host is out of memory', () => {
    const lab = new Lab();
    const run = agentOf(lab);
    lab.drain('guest', 1);
    const failure = failureOf(() => run(accessesOf([0, Touch.read], [1, Touch.read])));
    expect(failure?.kind).toBe('noMemory');
    expect(failure?.message).toMatch(/^vCPU 0, read of IPA 0x40001000: .*machine\.memory/);
  });
});

describe('a vCPU', () => {
  test('acknowledges what it did, after it did it', () => {
    const lab = new Lab();
    const run = agentOf(lab);
    write32(lab.world.layout.words.protectEpoch, 5);
    run(accessesOf([0, Touch.write], [1, Touch.read], [2, Touch.exec], [0, Touch.write]));
    const log = new AccessLog(lab.world.layout, 0);
    expect([0, 1, 2, 3].map((page) => log.entry(page, 0))).toEqual([
      { sequence: 2, protectEpoch: 5, logEpoch: 0, executed: false },
      { sequence: 0, protectEpoch: 0, logEpoch: 0, executed: false },
      { sequence: 0, protectEpoch: 0, logEpoch: 0, executed: true },
      null,
    ]);
    const frame = lab.world.vm.parts.host.lookup(lab.slot.hva);
    const at = lab.world.memory.guest.wordOf(frame);
    expect([read32(at), read32(at + 4)]).toEqual([2, 1]);
    expect(lab.counter(0, STATISTICS.accesses)).toBe(4);
    expect(lab.counter(0, STATISTICS.staleReads)).toBe(0);
  });

  test('counts the walks of each class of fault', () => {
    const lab = new Lab({ slots: [{ base: RAM, bytes: 8 * PAGE, logging: true }] });
    const run = agentOf(lab);
    run(accessesOf([0, Touch.read], [0, Touch.write], [1, Touch.write], [0, Touch.read]));
    const { translation, permission } = STATISTICS.faults;
    expect(lab.counter(0, translation.faults)).toBe(2);
    expect(lab.counter(0, permission.faults)).toBe(1);
    const words = new Uint32Array(lab.shared.memory.buffer);
    const base = lab.world.layout.statistics;
    const walks = (offset: number): number[] =>
      Array.from(words.subarray((base + offset) / 4, (base + offset) / 4 + 16));
    const none = Array.from({ length: 14 }, () => 0);
    expect([walks(translation.walks), walks(permission.walks)]).toEqual([
      [0, 2, ...none],
      [0, 1, ...none],
    ]);
  });

  test.each([
    ['another value', 9, 1],
    ["another vCPU's name", 1, 2],
    ['poison', 0x6b6b6b6b, 0x6b6b6b6b],
  ])('notices %s in its own word', (_, lo, hi) => {
    const lab = new Lab();
    const run = agentOf(lab);
    run(accessesOf([3, Touch.write]));
    const { host } = lab.world.vm.parts;
    const frame = host.lookup((lab.slot.hva + 3 * PAGE) as Hva);
    drive(store64(lab.world.memory.guest.wordOf(frame), lo, hi, Order.once));
    run(accessesOf([3, Touch.read], [3, Touch.read]));
    expect(lab.counter(0, STATISTICS.staleReads)).toBe(2);
    expect(lab.counter(0, STATISTICS.firstStalePage)).toBe(3);
  });
});

const phase = (overrides: Partial<Phase>): Phase => ({
  name: 'phase',
  guest: null,
  hosts: [],
  ...overrides,
});

describe('the host agent', () => {
  test('begins with the logging that slots ask for', () => {
    const slots = [false, true].map((logging, i) => ({
      base: RAM + i * PAGE,
      bytes: PAGE,
      logging,
    }));
    const lab = new Lab({ slots });
    drive(new HostAgent(lab.world, 0, 1).begin());
    const logging = lab.world.vm.parts.memslots.slots.map((slot) => slot.isLogging());
    expect(logging).toEqual([false, true]);
  });

  test('counts an epoch before each pass over every slot', () => {
    const slots = [0, 1].map((i) => ({ base: RAM + i * PAGE, bytes: PAGE, logging: false }));
    const lab = new Lab({ slots });
    const { protectEpoch, discardEpoch } = lab.world.layout.words;
    const host = new HostAgent(lab.view(), 0, 1);
    const order: string[] = [];
    const sink: EventSink = {
      onEvent: (record) => {
        const at = record[RECORD.location] as number;
        const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
        if (kind === EventKind.add32 && at === protectEpoch) order.push('epoch');
        if (kind === EventKind.tlbi) order.push('flush');
      },
    };
    const writeProtect = phase({ hosts: [{ action: 'write-protect', times: 2 }] });
    lab.runWith(new Scripted([]), [() => host.perform(writeProtect)], [sink]);
    expect(order).toEqual(['epoch', 'flush', 'flush', 'epoch', 'flush', 'flush']);
    expect([read32(protectEpoch), read32(discardEpoch)]).toEqual([2, 0]);
    drive(
      new HostAgent(lab.world, 0, 1).perform(phase({ hosts: [{ action: 'discard', times: 3 }] })),
    );
    expect([read32(protectEpoch), read32(discardEpoch)]).toEqual([2, 3]);
    expect(read32(lab.world.layout.words.notifierSequence)).toBe(6);
  });

  test('goes on until the guests of this and earlier phases are done, and makes one pass at least', () => {
    const lab = new Lab();
    const { protectEpoch, guestsFinished } = lab.world.layout.words;
    const guest = {
      kind: 'trace',
      pages: new Uint32Array(),
      kinds: new Uint8Array(),
      vcpuPages: 0,
    };
    const both = phase({
      guest: guest as Phase['guest'],
      hosts: [{ action: 'write-protect', times: null }],
    });
    const host = new HostAgent(lab.world, 0, 1);
    write32(guestsFinished, 2);
    drive(host.perform(both));
    expect(read32(protectEpoch)).toBe(1);
    drive(host.perform(phase({ guest: guest as Phase['guest'] })));
    let passes = 0;
    const sink: EventSink = {
      onEvent: (record) => {
        // A guest program ends after every third load of the counter.
        if (record[RECORD.location] !== guestsFinished) return;
        const words = new Int32Array(lab.shared.memory.buffer);
        if (++passes % 3 === 0) (words[guestsFinished / 4] as number)++;
      },
    };
    lab.runWith(new Scripted([]), [() => host.perform(both)], [sink]);
    // 2 of 6 had ended: four more take twelve looks; the thirteenth sees it.
    expect(passes).toBe(13);
    expect(read32(protectEpoch)).toBe(14);
  });
});

test('control words that are called monotone only grow', () => {
  const shared = createSharedWorld(loadWorkload('write-protect', { explore: true }));
  const { words } = shared.layout;
  const monotone = (Object.keys(WORDS) as WordName[]).filter((name) => WORDS[name].monotone);
  const names = new Map(monotone.map((name) => [words[name], name]));
  const grown = new Set<string>();
  const shrunk: string[] = [];
  const sink: EventSink = {
    onEvent: (record) => {
      const name = names.get(record[RECORD.location] as number);
      if (name === undefined) return;
      const delta = ((record[RECORD.newLo] as number) - (record[RECORD.oldLo] as number)) | 0;
      if (delta > 0) grown.add(name);
      if (delta < 0) shrunk.push(name);
    },
  };
  const options = { agents: agentsOfRun(shared, 1), stepsMax: 1_000_000, sinks: [sink] };
  const result = explore(new Execution({ ...options, scheduler: new RandomScheduler(1) }));
  expect([result.outcome, shrunk]).toEqual(['completed', []]);
  expect([...grown].toSorted()).toEqual([
    'barrierGeneration',
    'guestsFinished',
    'logEpoch',
    'protectEpoch',
    'rounds',
    'slotsGeneration',
    'tlbiClaimed',
    'tlbiPosted',
  ]);
  expect((pathOf(shared.world, RAM).at(-1) as PathEntry).level).toBe(3);
});

test('a thread refuses core code that was not stripped', () => {
  const lab = new Lab();
  const task = {
    memory: lab.shared.memory,
    scenario: lab.world.scenario,
    agent: 0,
    seed: 1,
    duration: { rounds: 1 },
  };
  expect(() => runThread(task)).toThrow('unstripped');
});

const names = (hosts: number, daemons: number): string[] =>
  [0, 1, 2, 3]
    .slice(0, 2 + hosts + daemons)
    .map((agent) => nameOf({ vcpus: 2, hosts, daemons }, agent));

test('agents are called by what they are', () => {
  expect(names(1, 0)).toEqual(['vCPU 0', 'vCPU 1', 'host']);
  expect(names(2, 0)).toEqual(['vCPU 0', 'vCPU 1', 'host 0', 'host 1']);
  expect(names(1, 1)).toEqual(['vCPU 0', 'vCPU 1', 'host', 'RCU daemon']);
});
