/**
 * A schedule as text: everything that decides about an execution of a scenario, on one line that needs no quotes.
 *
 *     fl1:SCENARIO:SEED:RUNS:CHOICES:SUM                fl1:SCENARIO:SEED:RUNS:CHOICES:REST:SUM
 *
 * SCENARIO is the scenario's hash, 8 hexadecimal digits. SEED is of all that is random in the scenario. RUNS says who takes how many steps
 * in a row, as `agent-steps`, `agent` alone for one step. CHOICES are the results of `choose`. REST say what is left of the scenario's programs, as
 * `phase-agent` and, for operations in a row, `-first-count`; without it all is. SUM tells a damaged text; lists are separated by points,
 * numbers are to base 36.
 */

import type { Remainder } from './remainder.ts';
import { runsOf, type Run } from './runs.ts';

/** What a scheduler answered in one execution. */
export interface Answers {
  /** The agent of each step. */
  readonly agents: readonly number[];
  /** The results of `choose`. */
  readonly choices: readonly number[];
}

export interface Schedule extends Answers {
  /** 8 hexadecimal digits. */
  readonly scenario: string;
  readonly seed: number;
  /** What is left of programs that are not whole. */
  readonly rests: readonly Remainder[];
}

/** The text is no schedule that this version can read; the message is one line. */
export class ScheduleError extends Error {
  override readonly name = 'ScheduleError';
}

const VERSION = 'fl1';
/** Steps of a schedule, at most: a text of a few letters must not ask for all memory. */
const STEPS_MAX = 100_000_000;
/** Operations of one program that a schedule may name. */
const OPERATIONS_MAX = 1_000_000;
const NUMBER = /^(?:0|[1-9a-z][0-9a-z]{0,6})$/;

export function formatSchedule({ scenario, seed, agents, choices, rests }: Schedule): string {
  const runs = runsOf(agents).map(textOf).join('.');
  const fields = [VERSION, scenario, base36(seed), runs, choices.map(base36).join('.')];
  if (rests.length > 0) fields.push(rests.map(restText).join('.'));
  const text = fields.join(':');
  return `${text}:${sumOf(text)}`;
}

/** @throws ScheduleError if it is cut off, damaged, of another version, or no schedule at all. */
export function parseSchedule(text: string): Schedule {
  const version = /^fl\d+(?=:|$)/.exec(text)?.[0];
  if (version === undefined)
    throw new ScheduleError(`no schedule: it does not begin with ${VERSION}:`);
  if (version !== VERSION)
    throw new ScheduleError(`a schedule of version ${version}, not ${VERSION}`);
  const end = text.lastIndexOf(':');
  const fields = text.split(':');
  const [, scenario = '', seed = '', runs = '', choices = '', ...more] = fields;
  const isWhole =
    (more.length === 1 || more.length === 2) && text.slice(end + 1) === sumOf(text.slice(0, end));
  if (!isWhole) throw new ScheduleError('a schedule that is cut off or damaged');
  if (!/^[0-9a-f]{8}$/.test(scenario)) throw new ScheduleError('a schedule without a scenario');
  return {
    scenario,
    seed: numberOf(seed),
    agents: agentsOf(listOf(runs)),
    choices: listOf(choices).map(numberOf),
    rests: more.slice(0, -1).flatMap(listOf).map(restOf),
  };
}

function restText({ phase, agent, kept }: Remainder): string {
  const rows: number[] = [];
  for (const index of kept) {
    const [first = 0, count = 0] = rows.slice(-2);
    if (rows.length > 0 && index === first + count) rows[rows.length - 1] = count + 1;
    else rows.push(index, 1);
  }
  return [phase, agent, ...rows].map(base36).join('-');
}

function restOf(text: string): Remainder {
  const [phase, agent, ...rows] = text.split('-').map(numberOf);
  const kept: number[] = [];
  for (let i = 0; i < rows.length; i += 2) {
    const [first = 0, count = 0] = rows.slice(i, i + 2);
    const isInOrder = count > 0 && first > (kept.at(-1) ?? -1);
    if (!isInOrder || kept.length + count > OPERATIONS_MAX) throw noRest(text);
    for (let index = first; index < first + count; index++) kept.push(index);
  }
  if (phase === undefined || agent === undefined) throw noRest(text);
  return { phase, agent, kept };
}

function noRest(text: string): ScheduleError {
  return new ScheduleError(`no rest of a program in a schedule: ${text}`);
}

function textOf({ agent, steps }: Run): string {
  return steps === 1 ? base36(agent) : `${base36(agent)}-${base36(steps)}`;
}

function agentsOf(runs: readonly string[]): number[] {
  const agents: number[] = [];
  for (const run of runs) {
    const [agent = '', steps = '1', ...more] = run.split('-');
    const end = agents.length + numberOf(steps);
    if (more.length > 0 || end === agents.length || end > STEPS_MAX)
      throw new ScheduleError(`no run of steps in a schedule: ${run}`);
    const id = numberOf(agent);
    while (agents.length < end) agents.push(id);
  }
  return agents;
}

function listOf(text: string): string[] {
  return text === '' ? [] : text.split('.');
}

function base36(value: number): string {
  return value.toString(36);
}

function numberOf(text: string): number {
  if (!NUMBER.test(text)) throw new ScheduleError(`no number in a schedule: ${text}`);
  return Number.parseInt(text, 36);
}

/** FNV-1a (Fowler, Noll and Vo), 32 bits, as 8 hexadecimal digits. */
function sumOf(text: string): string {
  let sum = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) sum = Math.imul(sum ^ text.charCodeAt(i), 0x01000193);
  return (sum >>> 0).toString(16).padStart(8, '0');
}
