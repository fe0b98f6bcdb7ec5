import {
  harvestedSlots,
  isHandler,
  type HandlerProgram,
  type Phase,
  type Slot,
} from '../../workers/scenario.ts';
import type { Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';
import { vcpusMax, type HostEntry, type SlotEntry } from './schema.ts';
import type { PlacedSlot } from './slots.ts';

/** What a slot's entry says of userfaults and of a snapshot. Throws a UserError where its backing has no use for it. */
export function registrationOf(
  source: YamlSource,
  { backing, userfault, snapshot, logging }: SlotEntry,
  i: number,
): Pick<Slot, 'userfault' | 'snapshot'> {
  if (userfault !== undefined && backing !== 'anonymous' && backing !== 'shared')
    throw source.keyProblem(['slots', i], 'userfault', `means nothing with the backing ${backing}`);
  if (userfault?.mode === 'minor' && backing !== 'shared')
    throw source.problem(
      ['slots', i, 'userfault', 'mode'],
      'minor faults are those of the backing shared',
    );
  if (snapshot && backing !== 'shared' && userfault === undefined)
    throw source.problem(
      ['slots', i, 'snapshot'],
      'a snapshot is in memory of the backing shared, or is brought by userfault',
    );
  if (snapshot && logging)
    throw source.problem(
      ['slots', i, 'logging'],
      'a log from the start is one of zeros, and there is a snapshot: use log-start',
    );
  return { ...(userfault && { userfault }), ...(snapshot && { snapshot }) };
}

/** Where a handler's entry stands, and the slots it can name. */
export interface HandlerPlace {
  readonly source: YamlSource;
  readonly path: Path;
  readonly slots: readonly Slot[];
  readonly slot: PlacedSlot;
  readonly vcpus: number;
}

/** Agents that an entry can stand for: a queue of each vCPU. */
const HANDLERS_MAX = vcpusMax;

/** An agent for each queue of the slot, and of each of its copies. Throws a UserError if there is none. */
export function handlerPrograms(
  { delay: delaySteps = 0, slot: name }: HostEntry,
  { source, path, slots, slot, vcpus }: HandlerPlace,
): HandlerProgram[] {
  const queue = slots[slot.index]?.userfault?.queue;
  const where: Path = name === undefined ? path : [...path, 'slot'];
  if (queue === undefined)
    throw source.problem(where, 'the slot is not registered: it has no userfault');
  if (queue === 'exit')
    throw source.problem(where, 'its faults go to the vCPUs: userfault has queue exit');
  const copies = slot.isPerVcpu ? vcpus : 1;
  const queues = queue === 'shared' ? 1 : vcpus;
  if (copies * queues > HANDLERS_MAX)
    throw source.problem(where, `${copies * queues} queues, at most ${HANDLERS_MAX} are served`);
  return Array.from({ length: copies * queues }, (_, i) => ({
    action: 'userfault',
    slot: slot.index + Math.floor(i / queues),
    queue: i % queues,
    delaySteps,
  }));
}

/** Throws a UserError for a guest or a harvest that would wait for ever: in a registered slot that nobody serves in its phase. */
export function checkServed(
  source: YamlSource,
  path: Path,
  slots: readonly Slot[],
  phase: Phase,
): void {
  const served = new Set(phase.hosts.filter(isHandler).map(({ slot }) => slot));
  const { guest } = phase;
  const harvested = harvestedSlots({ setup: [], rounds: [], ending: [phase] });
  for (const [i, { userfault }] of slots.entries()) {
    if (userfault === undefined) continue;
    if (userfault.queue === 'exit' && harvested.has(i))
      throw source.problem(path, 'a harvest cannot resolve faults of a slot whose queue is exit');
    if (userfault.queue === 'exit' || served.has(i)) continue;
    const isTouched = guest !== null && (guest.kind === 'trace' || guest.slot === i);
    if (!isTouched && !harvested.has(i)) continue;
    throw source.problem(
      path,
      'its guest, or a harvest, touches a slot with userfault: the phase needs a host with the action userfault',
    );
  }
}
