/** The leaves of the table against the reference: none missing, none too many, the right page, no permission that is not allowed. */
import { LAST_LEVEL } from '../../machine/geometry.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import { referenceLeaf, isBacked, type ReferencePage } from './reference.ts';
import type { ScannedLeaf, TableScan } from './scan.ts';
import type { Finding } from './verify.ts';

/** `exact`: W must stand exactly where the reference has it; otherwise nowhere else. */
export function* leaves(
  pgt: Stage2Pgtable,
  scan: TableScan,
  pages: readonly ReferencePage[],
  exact: boolean,
): Iterable<Finding> {
  const expected = new Set<number>();
  for (const page of pages) {
    expected.add(page.ipa);
    const finding = compare(pgt, page, scan.leaves.get(page.ipa), exact);
    if (finding !== null) yield finding;
  }
  for (const [ipa, leaf] of scan.leaves) {
    if (!expected.has(ipa))
      yield { verdict: 'stray-leaf', message: `${show(pgt, ipa, leaf)}: nobody accessed the page` };
  }
}

function compare(
  pgt: Stage2Pgtable,
  page: ReferencePage,
  leaf: ScannedLeaf | undefined,
  exact: boolean,
): Finding | null {
  const where = `IPA 0x${page.ipa.toString(16)}`;
  if (!isBacked(page))
    return {
      verdict: 'page-lost',
      message: `${where} was accessed and the host has no page for it`,
    };
  if (leaf === undefined)
    return { verdict: 'missing-leaf', message: `${where} was accessed and has no leaf` };
  const { entry, level } = leaf;
  const shown = show(pgt, page.ipa, leaf);
  if (level !== LAST_LEVEL)
    return { verdict: 'wrong-leaf', message: `${shown}: a page was expected` };
  if (entry.isWritable() && !page.writable) {
    return {
      verdict: 'write-not-allowed',
      message: `${shown}: W stands although nobody wrote since the write-protection`,
    };
  }
  const want = referenceLeaf(pgt, page, exact ? page.writable : entry.isWritable());
  if (entry.equals(want)) return null;
  return { verdict: 'wrong-leaf', message: `${shown}: expected 0x${want.toBigInt().toString(16)}` };
}

function show({ geometry }: Stage2Pgtable, ipa: number, { entry, level }: ScannedLeaf): string {
  const flags = [
    entry.isWritable() ? 'W' : '-',
    entry.isExecutable() ? 'X' : '-',
    entry.isYoung() ? 'AF' : '--',
  ].join(' ');
  const oa = entry.address(geometry).toString(16);
  return `IPA 0x${ipa.toString(16)} level ${level} entry 0x${entry.toBigInt().toString(16)} (OA 0x${oa} R ${flags})`;
}
