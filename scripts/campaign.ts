/**
 * The long campaign: the whole matrix, many schedules, long stress, explorations that take longer than a test may.
 *
 *     npm run campaign                    all of it: hours
 *     npm run campaign -- twins checked   groups of it
 */
import { explorationLine, explorations } from './campaign-explorations.ts';
import { CAMPAIGN_RUNS, campaignLine } from './campaign-plan.ts';

type Line = Promise<{ readonly ok: boolean; readonly line: string }>;

const groups = new Map<string, readonly (() => Line)[]>(
  Object.entries(CAMPAIGN_RUNS).map(([name, runs]) => [
    name,
    runs().map((run) => () => campaignLine(run)),
  ]),
);
groups.set(
  'explorations',
  explorations().map((row) => () => explorationLine(row)),
);

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !groups.has(name));
if (unknown !== undefined) {
  process.stderr.write(
    `campaign: no group ${unknown}; there are ${[...groups.keys()].join(', ')}\n`,
  );
  process.exit(2);
}
let failed = 0;
for (const [name, lines] of groups) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  for (const perform of lines) {
    const { ok, line } = await perform();
    if (!ok) failed++;
    process.stdout.write(`${line}\n`);
  }
}
const { user, system } = process.cpuUsage();
process.stdout.write(`${failed} failed, ${((user + system) / 1e6).toFixed(0)} s CPU in all\n`);
process.exitCode = failed === 0 ? 0 : 1;
