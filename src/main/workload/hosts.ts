import {
  LOG_ACTIONS,
  PAGE_ACTIONS,
  isLogProgram,
  type HostProgram,
  type LogAction,
  type PageAction,
} from '../../workers/scenario.ts';
import type { HostEntry } from './schema.ts';
import type { Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';

/** Where an entry stands, and what it may refer to. */
export interface HostPlace {
  readonly source: YamlSource;
  readonly path: Path;
  /** Whether a guest program runs in the same phase. */
  readonly hasGuest: boolean;
  /** Index of the slot that an entry names, or of the first. Throws a UserError if there is none of that name. */
  readonly slotNamed: (name: string | undefined, path: Path) => number;
}

/** A program of the host, checked. Throws a UserError about the first thing that is wrong. */
export function hostProgram(entry: HostEntry, place: HostPlace): HostProgram {
  checkGuest(entry, place);
  const { action } = entry;
  const times = entry.times === 'until-done' ? null : entry.times;
  if (isPageAction(action)) {
    const slot = place.slotNamed(entry.slot, place.path);
    return { action, times, slot, pages: entry.pages ?? null };
  }
  if (isLogAction(action)) {
    refuseKeys(entry, place, ['pages'], 'it is done to the log of a whole slot');
    return { action, times, slot: place.slotNamed(entry.slot, place.path) };
  }
  refuseKeys(entry, place, ['slot', 'pages'], 'it is done to every slot');
  return { action, times };
}

function isPageAction(action: HostEntry['action']): action is PageAction {
  return PAGE_ACTIONS.some((known) => known === action);
}

function isLogAction(action: HostEntry['action']): action is LogAction {
  return LOG_ACTIONS.some((known) => known === action);
}

/** Throws a UserError if two of a phase's programs harvest one slot. `path` is that of their list. */
export function checkHarvests(
  programs: readonly HostProgram[],
  { source, path }: Pick<HostPlace, 'source' | 'path'>,
): void {
  const seen = new Set<number>();
  for (const [i, program] of programs.entries()) {
    if (!isLogProgram(program) || program.action !== 'harvest') continue;
    if (seen.has(program.slot))
      throw source.problem([...path, i], 'a slot is harvested by one program at a time');
    seen.add(program.slot);
  }
}

function checkGuest({ action, times }: HostEntry, { source, path, hasGuest }: HostPlace): void {
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
