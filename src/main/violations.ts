/** Everything that a finished run violated, with the command that runs the same again. */
import { statisticsOf, type Layout } from '../workers/layout.ts';
import { STATISTICS } from '../workers/statistics.ts';
import { editsHash } from './edits.ts';
import type { Violation } from './result.ts';
import type { RunOptions } from './run-options.ts';
import type { SharedWorld } from './shared-world.ts';
import type { Finding, Verification } from './verify/verify.ts';

/** The verification of what a run left, and what the checkers of its events found. */
type Judged = Verification & { readonly events: readonly Finding[] };

export function violationsOf(
  shared: SharedWorld,
  verification: Judged,
  options: RunOptions,
  seed: number,
): Violation[] {
  const schedule = options.engine === 'explore' ? commandOf(shared, options, seed) : '';
  return findingsIn(shared, verification).map((finding) => ({ ...finding, schedule }));
}

/** Runs the same seed again. Edits that did not come from files cannot be named, only told apart. */
function commandOf({ world }: SharedWorld, options: RunOptions, seed: number): string {
  const { name, kvm, vcpus, twin } = world.scenario;
  const { edits = [], origin } = options;
  const flags = `--kvm ${kvm} -v ${vcpus}${twin ? ' --twin' : ''} --engine explore --seed ${seed}`;
  if (origin !== undefined) {
    const files = origin.editFiles.map((file) => ` --edit ${quoted(file)}`).join('');
    return `faultline run ${quoted(origin.workload)} ${flags}${files}`;
  }
  const edited = edits.length > 0 ? ` with edits ${editsHash(edits)}` : '';
  return `faultline run ${name} ${flags}${edited}`;
}

/** A file name as a shell takes it. */
function quoted(file: string): string {
  return /^[\w./@%+=:,-]+$/u.test(file) ? file : `'${file.replaceAll("'", String.raw`'\''`)}'`;
}

/** The findings of the verification, after what the vCPUs saw themselves, and the checkers of events, while they ran. */
export function findingsIn(shared: SharedWorld, { findings, events, more }: Judged): Finding[] {
  const message = `${more} further findings of this run are not shown`;
  return [
    ...staleReads(shared),
    ...strayAccesses(shared),
    ...events,
    ...findings,
    ...(more > 0 ? [{ verdict: 'more', message }] : []),
  ];
}

/** One finding per vCPU whose reads did not see its own last acknowledged write. */
function staleReads(shared: SharedWorld): Finding[] {
  const { staleReads: counter, firstStalePage: first } = STATISTICS;
  return perVcpu(shared, counter, first).map(({ vcpu, times, ipa }) => ({
    verdict: 'stale-read',
    message: `${times} reads of vCPU ${vcpu} did not see its own last acknowledged write, the first at IPA 0x${ipa.toString(16)}`,
  }));
}

/** One finding per vCPU that reached a frame which was not, or no longer, that of the page it meant. */
function strayAccesses(shared: SharedWorld): Finding[] {
  const { strayAccesses: counter, firstStrayPage: first } = STATISTICS;
  return perVcpu(shared, counter, first).map(({ vcpu, times, ipa }) => ({
    verdict: 'stale-translation',
    message: `${times} accesses of vCPU ${vcpu} reached a frame that holds another page, the first for IPA 0x${ipa.toString(16)}`,
  }));
}

/** The vCPUs whose counter is not zero, and the IPA of the page whose index `first` has. */
function perVcpu(
  { memory, layout }: SharedWorld,
  counter: number,
  first: number,
): { readonly vcpu: number; readonly times: number; readonly ipa: number }[] {
  const floats = new Float64Array(memory.buffer);
  return Array.from({ length: layout.vcpus }, (_, vcpu) => {
    const at = statisticsOf(layout, vcpu);
    const times = floats[(at + counter) / 8] as number;
    return { vcpu, times, ipa: ipaOfPage(layout, floats[(at + first) / 8] as number) };
  }).filter(({ times }) => times > 0);
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
