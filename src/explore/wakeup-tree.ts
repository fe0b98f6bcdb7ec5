/**
 * Wake-up trees (Abdulla, Aronis, Jonsson and Sagonas, "Source sets: a foundation for optimal dynamic partial order reduction", 2017,
 * section 6): what still has to be explored from a state, as sequences of steps, each of which leads to traces of its own.
 */
import { areDependent, type Step } from './step.ts';

/** One step of the sequences that begin with it; `next` is empty at the end of a sequence. */
export interface Branch {
  readonly step: Step;
  readonly next: Branch[];
}

/**
 * Whether some execution that begins with `step` is the same trace as some execution that begins with `sequence` (the step is a weak
 * initial of the sequence): nothing in the sequence has to come before it.
 */
export function isWeakInitial(step: Step, sequence: readonly Step[]): boolean {
  for (const other of sequence) {
    if (other.agent === step.agent) return other.choice === step.choice;
    if (areDependent(other, step)) return false;
  }
  return true;
}

/** Adds a sequence to the branches unless what they lead to covers it already. */
export function insert(branches: Branch[], sequence: readonly Step[]): void {
  let level = branches;
  let rest = sequence;
  while (rest.length > 0) {
    const branch = level.find(({ step }) => isWeakInitial(step, rest));
    if (branch === undefined) {
      graft(level, rest);
      return;
    }
    if (branch.next.length === 0) return;
    rest = withoutFirstOf(branch.step.agent, rest);
    level = branch.next;
  }
}

function graft(level: Branch[], sequence: readonly Step[]): void {
  let at = level;
  for (const step of sequence) {
    const branch: Branch = { step, next: [] };
    at.push(branch);
    at = branch.next;
  }
}

function withoutFirstOf(agent: number, sequence: readonly Step[]): readonly Step[] {
  const index = sequence.findIndex((step) => step.agent === agent);
  return index < 0 ? sequence : sequence.toSpliced(index, 1);
}
