/** The long campaign: the whole matrix, many schedules, long stress. `npm run campaign`; some 10 minutes on two cores. */
import { campaignLine, campaignPlan } from './campaign-plan.ts';

let failed = 0;
for (const run of campaignPlan()) {
  const { ok, line } = await campaignLine(run);
  if (!ok) failed++;
  process.stdout.write(`${line}\n`);
}
const { user, system } = process.cpuUsage();
process.stdout.write(`${failed} failed, ${((user + system) / 1e6).toFixed(0)} s CPU in all\n`);
process.exitCode = failed === 0 ? 0 : 1;
