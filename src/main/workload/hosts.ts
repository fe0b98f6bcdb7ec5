import {
  LOG_ACTIONS,
  PAGE_ACTIONS,
  SLOT_ACTIONS,
  TRAP_ACTIONS,
  isDevice,
  isLogProgram,
  isOneOf,
  type HandlerProgram,
  type HostProgram,
  type Slot,
} from '../../workers/scenario.ts';
import { checkRange, type IpaSpace } from './ipa-space.ts';
import type { HostEntry } from './schema.ts';
import type { Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';

/** What is no handler of userfaults. */
type PlainProgram = Exclude<HostProgram, HandlerProgram>;
type PlainEntry = HostEntry & Pick<PlainProgram, 'action'>;

export function isPlain(entry: HostEntry): entry is PlainEntry {
  return entry.action !== 'userfault';
}

/** Where an entry stands, and what it may refer to. */
export interface HostPlace {
  readonly source: YamlSource;
  readonly path: Path;
  /** Whether a guest program runs in the same phase. */
  readonly hasGuest: boolean;
  /** Whether nothing runs after the phase. */
  readonly isLast: boolean;
  readonly space: IpaSpace;
  /** Index of the slot that an entry names, or of the first. Throws a UserError if there is none of that name. */
  readonly slotNamed: (name: string | undefined, path: Path) => number;
}

/** What takes no mapping from a guest need not pause, unless the file says otherwise; the others let one faulting access through. */
const UNPAUSED: ReadonlySet<PlainProgram['action']> = new Set(['add-slot', 'ioremap', 'set-way']);

function delayOf({ action, delay }: PlainEntry): number {
  return delay ?? (UNPAUSED.has(action) ? 0 : 1);
}

/** A program of the host, checked. Throws a UserError about the first thing that is wrong. */
export function hostProgram(entry: PlainEntry, place: HostPlace): PlainProgram {
  checkGuest(entry, place);
  const { action } = entry;
  const times = entry.times === 'until-done' ? null : entry.times;
  if (isOneOf(PAGE_ACTIONS, action)) {
    refuseKeys(entry, place, ['base'], 'no slot moves');
    const slot = place.slotNamed(entry.slot, place.path);
    if (isDevice(place.space.slots[slot] as Slot))
      throw place.source.problem(
        [...place.path, 'action'],
        `device memory has no pages to ${action}`,
      );
    return { action, times, delay: delayOf(entry), slot, pages: entry.pages ?? null };
  }
  if (isOneOf(LOG_ACTIONS, action)) {
    refuseKeys(entry, place, ['pages', 'base'], 'it is done to the log of a whole slot');
    const slot = place.slotNamed(entry.slot, place.path);
    if (isDevice(place.space.slots[slot] as Slot))
      throw place.source.problem([...place.path, 'action'], 'device memory has no dirty log');
    return { action, times, delay: delayOf(entry), slot };
  }
  if (isOneOf(SLOT_ACTIONS, action)) {
    refuseKeys(entry, place, ['pages'], 'it is done to a whole slot');
    const slot = place.slotNamed(entry.slot, place.path);
    const base = baseOf(entry, place, slot);
    return { action, times, delay: delayOf(entry), slot, base };
  }
  refuseKeys(entry, place, ['slot', 'pages', 'base'], 'it is done to every slot at once');
  if (isOneOf(TRAP_ACTIONS, action)) return { action, times, delay: delayOf(entry) };
  refuseKeys(entry, place, ['delay'], 'it has one step');
  return { action, times };
}

/** Where a slot goes, or the second one over its memory. */
function baseOf(entry: PlainEntry, place: HostPlace, index: number): number {
  const { source, path, space } = place;
  const slot = space.slots[index] as Slot;
  if (entry.action === 'replace-slot') {
    refuseKeys(entry, place, ['base'], 'the slot comes back where it was');
    return slot.base;
  }
  if (entry.action === 'ioremap' && !isDevice(slot))
    throw source.problem(
      [...path, 'slot'],
      'ioremap maps registers: the slot has no backing device',
    );
  if (entry.action === 'ioremap' && entry.base === undefined) return slot.base;
  if (entry.base === undefined)
    throw source.problem(path, `${entry.action} needs a base: a guest physical address`);
  checkRange(source, [...path, 'base'], space, { base: entry.base, bytes: slot.bytes });
  return entry.base;
}

/** Throws a UserError if two of a phase's programs harvest one slot of one of the VMs, which they are dealt out among. `path` is that of their list. */
export function checkHarvests(
  programs: readonly HostProgram[],
  { source, path, vms }: Pick<HostPlace, 'source' | 'path'> & { readonly vms: number },
): void {
  const seen = new Set<string>();
  for (const [i, program] of programs.entries()) {
    if (!isLogProgram(program) || program.action !== 'harvest') continue;
    const harvested = `slot ${program.slot} of VM ${i % vms}`;
    if (seen.has(harvested))
      throw source.problem([...path, i], 'a slot is harvested by one program at a time');
    seen.add(harvested);
  }
}

function checkGuest(
  { action, times }: HostEntry,
  { source, path, hasGuest, isLast, space }: HostPlace,
): void {
  if (action === 'discard') checkDiscard(source, path, space.slots);
  if (action === 'teardown' && (hasGuest || !isLast || times !== 1)) {
    throw source.problem(
      [...path, 'action'],
      'teardown is the end: once, in the last phase of ending, without a guest program',
    );
  }
  if (action === 'discard' && hasGuest) {
    throw source.problem(
      [...path, 'action'],
      'discard is not possible while a guest program runs: give it a phase of its own',
    );
  }
  if (times === 'until-done' && !hasGuest) {
    throw source.problem([...path, 'times'], 'until-done needs a guest program in the same phase');
  }
}

/** Memory of which a discard takes no page back, or takes back nothing but mappings: a run expects zeros after it. */
const KEPT: ReadonlySet<string> = new Set(['hugetlb', 'shared']);

function checkDiscard(source: YamlSource, path: Path, slots: readonly Slot[]): void {
  const kept = slots.find((slot) => isDevice(slot) || KEPT.has(slot.backing?.kind ?? ''));
  if (kept === undefined) return;
  throw source.problem(
    [...path, 'action'],
    `the host cannot discard the slot at 0x${kept.base.toString(16)}: what hugetlb, shared memory or a device holds stays`,
  );
}

function refuseKeys(
  entry: HostEntry,
  { source, path }: HostPlace,
  keys: readonly (keyof HostEntry)[],
  why: string,
): void {
  const key = keys.find((candidate) => entry[candidate] !== undefined);
  if (key !== undefined)
    throw source.keyProblem(path, key, `means nothing with ${entry.action}: ${why}`);
}
