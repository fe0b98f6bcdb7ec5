/** Findings of a verification as violations of a result, with the command that runs the same again. */
import { STATISTICS } from '../workers/statistics.ts';
import type { Violation } from './result.ts';
import type { RunOptions } from './run-options.ts';
import type { Totals } from './totals.ts';
import type { Finding, Verification } from './verify/verify.ts';

export function violationsOf(
  verification: Verification,
  totals: Totals,
  options: RunOptions,
  seed: number,
): Violation[] {
  const findings: Finding[] = [...staleReads(totals), ...verification.findings];
  if (verification.more > 0) {
    findings.push({
      verdict: 'more',
      message: `${verification.more} further findings of this run are not shown`,
    });
  }
  const schedule = options.engine === 'explore' ? `--engine explore --seed ${seed}` : '';
  return findings.map((finding) => ({ ...finding, schedule }));
}

function staleReads(totals: Totals): Finding[] {
  const stale = totals.counter(STATISTICS.staleReads);
  if (stale === 0) return [];
  return [
    {
      verdict: 'stale-read',
      message: `${stale} reads did not see the vCPU's own last acknowledged write`,
    },
  ];
}
