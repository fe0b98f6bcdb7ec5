/** Who holds which lock, and who waits for which: of a run that has come to a stand, by what its agents counted. */
import { BUCKETS } from '../engine/histogram.ts';
import type { EngineMemory } from '../engine/port.ts';
import { nameOf } from '../workers/agents.ts';
import { mainAgent, statisticsOf, vmOfAgent, type Layout } from '../workers/layout.ts';
import { LOCK_ROWS, type LockRow } from './lock-rows.ts';

/** What the messages need of a run. */
interface StoppedRun {
  readonly memory: EngineMemory;
  readonly layout: Layout;
}

/** Of all agents, with what goes before it: `; vCPU 0 holds mmap_lock (read), waits for mmu_lock; vCPU 1 holds mmu_lock`; nothing where no lock is in play. */
export function lockHands(run: StoppedRun): string {
  const agents = Array.from({ length: mainAgent(run.layout) }, (_, agent) => agent);
  return agents.map((agent) => handsOf(run, agent)).join('');
}

/** What an agent holds: `mmu_lock`, `mmap_lock (read)`. */
export function heldLocks(run: StoppedRun, agent: number): string[] {
  const words = wordsOf(run, agent);
  return namesOf(({ at }) => words[at.acquisitions / 4] !== words[at.releases / 4]);
}

/** An agent, with its VM, whose locks it takes, where that is not the first. */
export function whoOf({ layout }: StoppedRun, agent: number): string {
  const vm = vmOfAgent(layout, agent);
  return vm === 0 ? nameOf(layout, agent) : `${nameOf(layout, agent)} (VM ${vm})`;
}

/** What an agent waits for. */
function awaitedLocks(run: StoppedRun, agent: number): string[] {
  const words = wordsOf(run, agent);
  return namesOf(({ at }) => {
    const waits = words.subarray(at.waitNs / 4, at.waitNs / 4 + BUCKETS);
    return words[at.contentions / 4] !== waits.reduce((sum, samples) => sum + samples, 0);
  });
}

function handsOf(run: StoppedRun, agent: number): string {
  const held = heldLocks(run, agent);
  const awaited = awaitedLocks(run, agent);
  const does = [
    ...(held.length > 0 ? [`holds ${held.join(', ')}`] : []),
    ...(awaited.length > 0 ? [`waits for ${awaited.join(', ')}`] : []),
  ];
  return does.length > 0 ? `; ${whoOf(run, agent)} ${does.join(' and ')}` : '';
}

/** An agent's statistics block, and what follows it. */
function wordsOf({ memory, layout }: StoppedRun, agent: number): Int32Array {
  return new Int32Array(memory.buffer, statisticsOf(layout, agent));
}

function namesOf(isMeant: (row: LockRow) => boolean): string[] {
  return LOCK_ROWS.filter(isMeant).map(({ name, mode }) =>
    mode === 'read' || mode === 'write' ? `${name} (${mode})` : name,
  );
}
