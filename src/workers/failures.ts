/** The failures on purpose of a run, as one agent sees them. */
import {
  FAILURE_SITES,
  FailurePoint,
  PlannedFailures,
  type FailureSite,
} from '../machine/failure-point.ts';
import type { Layout } from './layout.ts';
import type { Scenario } from './scenario.ts';

export class Failures {
  readonly points: Readonly<Record<FailureSite, FailurePoint>>;

  constructor({ failures }: Scenario, layout: Layout) {
    const pointOf = (site: FailureSite): FailurePoint => {
      const plan = failures.find((candidate) => candidate.site === site);
      return plan === undefined
        ? new FailurePoint()
        : new PlannedFailures(plan, layout.failures[site]);
    };
    const entries = FAILURE_SITES.map((site) => [site, pointOf(site)] as const);
    this.points = Object.fromEntries(entries) as Record<FailureSite, FailurePoint>;
  }

  /** How many this agent met: an error that comes without one is a real one. */
  get struck(): number {
    return FAILURE_SITES.reduce((sum, site) => sum + this.points[site].struck, 0);
  }
}
