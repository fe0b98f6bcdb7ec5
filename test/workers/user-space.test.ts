/** What a vCPU's thread does in user space: drops writes to read-only memory, waits for a slot that is away, and ends the run otherwise. */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind, RECORD, type EventSink } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { regionOf, setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import type { Descriptor } from '../../src/machine/descriptor.ts';
import { AgentFailure } from '../../src/workers/failure.ts';
import { Touch, type Accesses } from '../../src/workers/program.ts';
import type { HostProgram, Phase, Scenario } from '../../src/workers/scenario.ts';
import { HostAgent } from '../../src/workers/host-agent.ts';
import { statisticsOf } from '../../src/workers/layout.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { VcpuAgent } from '../../src/workers/vcpu-agent.ts';
import { Lab, PAGE, RAM } from '../support/lab.ts';

const SLOT = { base: RAM, bytes: 4 * PAGE, logging: false };
const REPLACE = { action: 'replace-slot', times: 1, delay: 0, slot: 0, base: RAM } as const;

function phaseOf(...hosts: readonly HostProgram[]): Phase {
  return { name: 'p', guest: null, hosts };
}

function accesses(...kinds: readonly number[]): Accesses {
  return {
    ipas: Float64Array.from(kinds, (_, page) => RAM + page * PAGE),
    pages: Uint32Array.from(kinds, (_, page) => page),
    kinds: Uint8Array.from(kinds),
  };
}

function begun(lab: Lab): VcpuAgent {
  const agent = new VcpuAgent(lab.view(0), 0, 1);
  drive(agent.enter());
  return agent;
}

/** A lab whose slot is gone, and an agent's course that brings it back. */
function without(overrides: Partial<Scenario>): { lab: Lab; back: () => Op<unknown> } {
  const lab = new Lab(overrides);
  const { vm } = lab.view(1);
  const region = regionOf(lab.slot);
  drive(setMemoryRegion(lab.world.vm, { ...region, bytes: 0 }));
  return { lab, back: () => setMemoryRegion(vm, region) };
}

function flagsOf(leaf: Descriptor): string {
  if (!leaf.isValid()) return '';
  return `R${leaf.isWritable() ? 'W' : ''}${leaf.isExecutable() ? 'X' : ''}`;
}

describe('a slot that is away', () => {
  const kinds = [Touch.read, Touch.write, Touch.exec] as const;

  test.each(kinds)('is waited for, and then the access of kind %i is made', (kind) => {
    const { lab, back } = without({ slots: [SLOT], rounds: [phaseOf(REPLACE)] });
    const guest = begun(lab);
    lab.runWith(new Scripted([]), [() => guest.run(accesses(kind)), back]);
    expect(lab.counter(0, STATISTICS.accesses)).toBe(1);
    // Alone at first, the vCPU meets no slot once: the slot comes back while it waits.
    expect(lab.counter(0, STATISTICS.exits)).toBe(1);
    // The fault that met no slot made no walk, and is not counted as one that made none.
    const walks = STATISTICS.faults.translation.walks / 4;
    const words = new Uint32Array(lab.shared.memory.buffer);
    expect(words[statisticsOf(lab.world.layout, 0) / 4 + walks]).toBe(0);
  });

  test.each(kinds)('that nobody brings back ends the run, kind %i', (kind) => {
    const { lab } = without({ slots: [SLOT] });
    const guest = begun(lab);
    const run = (): void => lab.runWith(new Scripted([]), [() => guest.run(accesses(kind))]);
    expect(run).toThrow(AgentFailure);
    expect(run).toThrow(
      kind === Touch.exec ? 'the host injected an abort' : 'no memslot backs the address',
    );
  });
});

test('writes to a read-only slot are dropped, reads and fetches are not', () => {
  const lab = new Lab({ slots: [{ ...SLOT, isReadonly: true }] });
  const guest = begun(lab);
  const touches = accesses(Touch.write, Touch.read, Touch.exec, Touch.write);
  lab.runWith(new Scripted([]), [() => guest.run(touches)]);
  expect(lab.counter(0, STATISTICS.exits)).toBe(2);
  const leaves = [0, 1, 2, 3].map(
    (page) => lab.path(RAM + page * PAGE).at(-1)?.value as Descriptor,
  );
  expect(leaves.map(flagsOf)).toEqual(['', 'R', 'RX', '']);
});

/** Looks at the guests' progress, which grows by one with each, in four passes. */
function looks(delay: number): number {
  const program = { ...REPLACE, times: 4, delay };
  const lab = new Lab({ slots: [SLOT], rounds: [phaseOf(program)] });
  const host = new HostAgent(lab.view(), 0, 1);
  const { guestProgress } = lab.world.layout.words;
  const words = new Int32Array(lab.shared.memory.buffer);
  let count = 0;
  const sink: EventSink = {
    onEvent: (record) => {
      if (record[RECORD.location] !== guestProgress) return;
      if (((record[RECORD.agentAndKind] as number) & 0xffff) !== EventKind.load32) return;
      words[guestProgress / 4] = ++count;
    },
  };
  const guest = { kind: 'trace', pages: new Uint32Array(), kinds: new Uint8Array() };
  const phase = { ...phaseOf(program), guest: guest as unknown as Phase['guest'] };
  lab.runWith(new Scripted([]), [() => host.perform(phase)], [sink]);
  return count;
}

test.each([
  [0, 0],
  [1, 5],
  [3, 13],
])('a pause of %i faulting accesses takes %i looks', (delay, expected) => {
  expect(looks(delay)).toBe(expected);
});
