/**
 * A schedule as text: everything that decides about an execution of a scenario, on one line that needs no quotes.
 *
 *     fl1:SCENARIO:SEED:RUNS:CHOICES:SUM
 *
 * SCENARIO is the scenario's hash, 8 hexadecimal digits. SEED is of all that is random in the scenario. RUNS says who takes how many steps
 * in a row, as `agent-steps`, `agent` alone for one step. CHOICES are the results of `choose`. SUM tells a damaged text; lists are
 * separated by points, numbers are to base 36.
 */

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
}

/** The text is no schedule that this version can read; the message is one line. */
export class ScheduleError extends Error {
  override readonly name = 'ScheduleError';
}

const VERSION = 'fl1';
const FIELDS = 6;
/** Steps of a schedule, at most: a text of a few letters must not ask for all memory. */
const STEPS_MAX = 100_000_000;
const NUMBER = /^(?:0|[1-9a-z][0-9a-z]{0,6})$/;

export function formatSchedule({ scenario, seed, agents, choices }: Schedule): string {
  const runs = runsOf(agents).map(textOf).join('.');
  const text = [VERSION, scenario, base36(seed), runs, choices.map(base36).join('.')].join(':');
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
  const isWhole = fields.length === FIELDS && text.slice(end + 1) === sumOf(text.slice(0, end));
  if (!isWhole) throw new ScheduleError('a schedule that is cut off or damaged');
  const [, scenario = '', seed = '', runs = '', choices = ''] = fields;
  if (!/^[0-9a-f]{8}$/.test(scenario)) throw new ScheduleError('a schedule without a scenario');
  return {
    scenario,
    seed: numberOf(seed),
    agents: agentsOf(listOf(runs)),
    choices: listOf(choices).map(numberOf),
  };
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
