/**
 * Verification after a run, while nothing runs: the table, the references, the frames and the contents of memory against a reference
 * that was built without the table.
 *
 * With a host that write-protects while vCPUs write, W may be missing where the reference allows it; then the table is compared
 * once more, exactly, after everything was write-protected.
 */
import { drive } from '#port';
import type { Finding } from '../../explore/subject.ts';
import { digestTable } from '../../pgtable/digest.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import { stage2Wrprotect } from '../../pgtable/stage2-attributes.ts';
import { does, movesPages, phasesOf, type Phase, type Scenario } from '../../workers/scenario.ts';
import type { World } from '../../workers/world.ts';
import { contents } from './contents.ts';
import { compareCopies, type CopiesResult } from './copies.ts';
import { dirtyLogs } from './dirty.ts';
import { mappedPages } from './mapped.ts';
import { frameAccounts, referenceCounts } from './frames.ts';
import { leaves } from './leaves.ts';
import { referenceDigest, referenceOf, type ReferencePage } from './reference.ts';
import { TableScan } from './scan.ts';
import { notifierClosed } from './notifier.ts';
import { slotsRestored } from './slots.ts';
import { tornDown } from './torn-down.ts';
import { compareTwin, twinDifference, type TwinResult } from './twin.ts';
import { userfaults } from './userfaults.ts';

export type { Finding };

export interface Verification {
  readonly findings: readonly Finding[];
  /** Findings beyond {@link FINDINGS_MAX}. */
  readonly more: number;
  /** The table's digest as the run left it; this and what follows: of the first VM. */
  readonly digest: string;
  /** Table pages, the root's included. */
  readonly tablePages: number;
  /** Leaves per level. */
  readonly leaves: readonly [number, number, number, number];
  /** How the digest was compared. */
  readonly comparison: Comparison;
  readonly referenceLeaves: number;
  readonly twin: TwinResult;
  readonly copies: CopiesResult;
}

/**
 * `exact`: the table has the reference's leaves and no others; `after-write-protect`: the same but for W, and exactly once W is gone
 * everywhere; `pages`: the host moved pages, so leaves may be missing, and those that stand are the host's pages; `torn-down`:
 * there is no table any more; `none`: the run did not end, and nothing was looked at.
 */
export type Comparison = 'exact' | 'after-write-protect' | 'pages' | 'torn-down' | 'none';

/** Of a run that did not end. */
export const UNVERIFIED: Verification = {
  findings: [],
  more: 0,
  digest: '',
  tablePages: 0,
  leaves: [0, 0, 0, 0],
  comparison: 'none',
  referenceLeaves: 0,
  twin: null,
  copies: null,
};

/** Findings that are shown; the rest is counted. */
export const FINDINGS_MAX = 20;

/** Verifies the VMs of a run, the first one's first. */
export function verify(worlds: readonly [World, ...(readonly World[])]): Verification {
  const [world] = worlds;
  const vms = worlds.map(verifyVm);
  const [first] = vms as [VmVerification];
  const hosts = worlds.map(({ vm }) => vm.parts.host);
  const scans = vms.flatMap((vm) => vm.scans);
  const findings = [
    ...vms.flatMap((vm, number) => vm.findings.map((finding) => named(finding, number))),
    ...frameAccounts(world, hosts, scans),
  ];
  return {
    findings: findings.slice(0, FINDINGS_MAX),
    more: Math.max(0, findings.length - FINDINGS_MAX),
    ...first.tables,
  };
}

/** Messages about the first VM do not name it: mostly there is no other. */
function named({ verdict, message }: Finding, vm: number): Finding {
  return { verdict, message: vm === 0 ? message : `VM ${vm}: ${message}` };
}

/** What is found of one VM alone. */
export interface VmVerification {
  readonly findings: readonly Finding[];
  readonly scans: readonly TableScan[];
  readonly tables: Omit<Verification, 'findings' | 'more'>;
}

function verifyVm(world: World): VmVerification {
  const pgt = drive(world.vm.pgt());
  if (pgt === null) return tornDown(world);
  const pages = referenceOf(world);
  const scan = new TableScan(pgt);
  const scans = twinScanned(world, scan);
  const twin = compareTwin(world, pgt);
  const hex = scan.digest.hex();
  const reference = isLeafByLeaf(world) ? referenceDigest(pgt, pages, true).hex() : null;
  const comparison = comparisonOf(world, hex, reference);
  const findings = [
    ...twinDifference(world, pgt, twin),
    ...notifierClosed(world),
    ...slotsRestored(world),
    ...tableFindings(world, pgt, { scan, hex, reference, pages, comparison }),
    ...scans.flatMap((each) => [...referenceCounts(world, each)]),
    ...dirtyLogs(world, pages),
    ...contents(world, pages),
    ...userfaults(world),
  ];
  const tables = {
    digest: hex,
    tablePages: scan.counted.size,
    leaves: scan.digest.leaves,
    comparison,
    referenceLeaves: pages.length,
    twin,
    copies: compareCopies(world),
  };
  return { findings, scans, tables };
}

/** The scan of the live table, and of its twin if there is one. */
function twinScanned({ vm }: World, live: TableScan): TableScan[] {
  const { twin } = vm.parts;
  return twin === null ? [live] : [live, new TableScan(drive(twin.pgt()))];
}

/** Whether the reference has every leaf. Of the pages that hold a guest's tables no log tells which were touched. */
function isLeafByLeaf({ scenario }: World): boolean {
  return !movesPages(scenario) && scenario.stage1 === undefined;
}

/** How strictly the table can be compared: see {@link Comparison}. `reference`: the reference's digest, if it has every leaf. */
function comparisonOf({ scenario }: World, hex: string, reference: string | null): Comparison {
  if (reference === null) return 'pages';
  return hex === reference || !mayLackPermissions(scenario) ? 'exact' : 'after-write-protect';
}

function tableFindings(
  world: World,
  pgt: Stage2Pgtable,
  table: {
    readonly scan: TableScan;
    readonly hex: string;
    /** Digest of the reference, if it has every leaf. */
    readonly reference: string | null;
    readonly pages: readonly ReferencePage[];
    readonly comparison: Comparison;
  },
): Finding[] {
  const { scan, hex, reference, pages, comparison } = table;
  if (reference === null) return [...mappedPages(world, pgt, scan)];
  const isExact = comparison === 'exact';
  const digests = isExact ? sameDigest(hex, reference) : afterWriteProtect(world, pgt, pages);
  return [...leaves(pgt, scan, pages, isExact), ...digests];
}

function sameDigest(digest: string, reference: string): Finding[] {
  if (digest === reference) return [];
  return [
    { verdict: 'digest', message: `the table's digest is ${digest}, the reference's ${reference}` },
  ];
}

function afterWriteProtect(
  world: World,
  pgt: Stage2Pgtable,
  pages: readonly ReferencePage[],
): Finding[] {
  for (const slot of world.vm.parts.memslots.slots) {
    const outcome = drive(stage2Wrprotect(pgt, slot.ipa, slot.bytes));
    if (outcome !== 'ok') throw new Error(`write-protecting a slot: ${outcome}`);
  }
  return sameDigest(drive(digestTable(pgt)).hex(), referenceDigest(pgt, pages, false).hex());
}

/**
 * Whether an acknowledged write may legitimately end without W: a host that write-protects during the phase, or, while a slot
 * logs, a read fault of one vCPU that overtakes the write fault of another on a fresh page and replaces its leaf by a read-only one
 * (profile `5.10` maps whatever the last fault asked for).
 */
function mayLackPermissions(scenario: Scenario): boolean {
  const phases = phasesOf(scenario);
  if (phases.some((phase) => phase.guest !== null && phase.hosts.length > 0)) return true;
  const logs = scenario.slots.some((slot) => slot.logging) || does(scenario, 'write-protect');
  return logs && scenario.vcpus > 1 && phases.some(mixesOnSharedPages);
}

function mixesOnSharedPages({ guest }: Phase): boolean {
  return (
    guest?.kind === 'pattern' && guest.region === 'shared' && guest.writes > 0 && guest.writes < 1
  );
}
