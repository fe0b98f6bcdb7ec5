/** Everything that a finished run violated, with the command that runs the same again. */
import { statisticsOf, type Layout } from '../workers/layout.ts';
import { STATISTICS } from '../workers/statistics.ts';
import { editsHash } from './edits.ts';
import type { Violation } from './result.ts';
import type { RunOptions } from './run-options.ts';
import type { SharedWorld } from './shared-world.ts';
import type { Finding, Verification } from './verify/verify.ts';

/** The findings of the verification, after what the vCPUs saw themselves while they ran. */
export function violationsOf(
  shared: SharedWorld,
  verification: Verification,
  options: RunOptions,
  seed: number,
): Violation[] {
  const findings: Finding[] = [...staleReads(shared), ...verification.findings];
  if (verification.more > 0) {
    findings.push({
      verdict: 'more',
      message: `${verification.more} further findings of this run are not shown`,
    });
  }
  const { edits = [] } = options;
  const edited = edits.length > 0 ? ` with edits ${editsHash(edits)}` : '';
  const schedule = options.engine === 'explore' ? `--engine explore --seed ${seed}${edited}` : '';
  return findings.map((finding) => ({ ...finding, schedule }));
}

/** One finding per vCPU whose reads did not see its own last acknowledged write. */
function staleReads({ memory, layout }: SharedWorld): Finding[] {
  const floats = new Float64Array(memory.buffer);
  return Array.from({ length: layout.vcpus }, (_, vcpu) => {
    const at = statisticsOf(layout, vcpu);
    const stale = floats[(at + STATISTICS.staleReads) / 8] as number;
    const page = floats[(at + STATISTICS.firstStalePage) / 8] as number;
    return { vcpu, stale, ipa: ipaOfPage(layout, page) };
  })
    .filter(({ stale }) => stale > 0)
    .map(({ vcpu, stale, ipa }) => ({
      verdict: 'stale-read',
      message: `${stale} reads of vCPU ${vcpu} did not see its own last acknowledged write, the first at IPA 0x${ipa.toString(16)}`,
    }));
}

/** The IPA of a page by its index over all slots. */
function ipaOfPage(layout: Layout, page: number): number {
  let before = 0;
  for (const slot of layout.slots) {
    if (page < before + slot.pages) return (slot.baseGfn + page - before) * slot.pageBytes;
    before += slot.pages;
  }
  throw new Error(`no page ${page}`);
}
