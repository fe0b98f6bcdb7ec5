/**
 * Wake-up trees (Abdulla, Aronis, Jonsson and Sagonas, "Source sets: a foundation for optimal dynamic partial order reduction", 2017,
 * section 6): what still has to be explored from a state, as sequences of steps, each of which leads to traces of its own.
 */
import { areInConflict, type Step } from './step.ts';

/** One step of the sequences that begin with it; `next` is empty at the end of a sequence. */
export interface Branch {
  readonly step: Step;
  readonly next: Branch[];
}

/**
 * Whether some execution that begins with `step` is the same trace as some execution that begins with `sequence`, from index `from` on (the
 * step is a weak initial of the sequence): nothing in the sequence has to come before it.
 */
export function isWeakInitial(step: Step, sequence: readonly Step[], from = 0): boolean {
  for (let i = from; i < sequence.length; i++) {
    const other = sequence[i] as Step;
    if (other.agent === step.agent) return other.choice === step.choice;
    if (areInConflict(other, step)) return false;
  }
  return true;
}

/** Adds a sequence to the branches unless what they lead to covers it already. */
export function insert(branches: Branch[], sequence: readonly Step[]): void {
  let level = branches;
  let rest = sequence;
  let from = 0;
  while (from < rest.length) {
    const branch = branchFor(level, rest, from);
    if (branch === undefined) {
      graft(level, rest, from);
      return;
    }
    if (branch.next.length === 0) return;
    const { agent } = branch.step;
    // Mostly the sequence is in the order of the branches.
    if ((rest[from] as Step).agent !== agent) {
      rest = withoutFirstOf(agent, rest, from);
      from = 0;
    } else from++;
    level = branch.next;
  }
}

function branchFor(
  level: readonly Branch[],
  rest: readonly Step[],
  from: number,
): Branch | undefined {
  for (const branch of level) if (isWeakInitial(branch.step, rest, from)) return branch;
  return undefined;
}

function graft(level: Branch[], sequence: readonly Step[], from: number): void {
  let at = level;
  for (let i = from; i < sequence.length; i++) {
    const branch: Branch = { step: sequence[i] as Step, next: [] };
    at.push(branch);
    at = branch.next;
  }
}

/** The sequence from `from` on, without the first step of an agent. */
function withoutFirstOf(agent: number, sequence: readonly Step[], from: number): readonly Step[] {
  const rest = sequence.slice(from);
  const index = rest.findIndex((step) => step.agent === agent);
  if (index >= 0) rest.splice(index, 1);
  return rest;
}
