/** Steps of one agent in a row. */
export interface Run {
  readonly agent: number;
  readonly steps: number;
}

/** The agents of steps, as runs. */
export function runsOf(agents: readonly number[]): Run[] {
  const runs: Run[] = [];
  for (let i = 0; i < agents.length;) {
    const agent = agents[i] as number;
    const from = i;
    while (agents[i] === agent) i++;
    runs.push({ agent, steps: i - from });
  }
  return runs;
}

export function stepsIn(runs: readonly Run[]): number {
  return runs.reduce((sum, { steps }) => sum + steps, 0);
}
