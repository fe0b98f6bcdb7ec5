import type { Answers } from './schedule.ts';
import type { Finding } from './subject.ts';

/** A verdict, and of the executions that came to it the one with the fewest preemptions, of these the shortest. */
export interface Failure extends Finding {
  readonly schedule: Answers;
  readonly preemptions: number;
  /** Executions that came to this verdict. */
  readonly times: number;
}

/** Whether a failure is easier to read than another; of two that are as easy one is, always the same. */
export function isSimpler(one: Failure, other: Failure): boolean {
  if (one.preemptions !== other.preemptions) return one.preemptions < other.preemptions;
  const { agents } = one.schedule;
  const others = other.schedule.agents;
  if (agents.length !== others.length) return agents.length < others.length;
  const first = agents.findIndex((agent, step) => agent !== others[step]);
  return first >= 0 && (agents[first] as number) < (others[first] as number);
}
