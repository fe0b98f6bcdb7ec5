/** A stage-2 table for people: its registers, and a tree of tables with runs of alike leaves. */
import { decodeVtcrFields, decodeVttbrFields, type Decoded } from '../../pgtable/bit-decoder.ts';
import { mergeRanges, type DumpRange } from '../../pgtable/dump.ts';
import type { Geometry } from '../../machine/geometry.ts';
import { hex64, type Snapshot } from './snapshot.ts';
import { oneLine } from '../input-file.ts';

const WHAT_WIDTH = 12;

/** The dump, ending in a newline. */
export function textDump({ head, geometry, entries }: Snapshot): string {
  const { granule, ipaBits, startLevel, rootPages } = head.geometry;
  const vcpus = `${head.vcpus} ${head.vcpus === 1 ? 'vCPU' : 'vCPUs'}`;
  const pages = rootPages === 1 ? '1 root page' : `${rootPages} root pages`;
  const ranges = mergeRanges(entries, geometry);
  return [
    oneLine(
      `${head.workload}: ${vcpus}, engine ${head.engine}, kvm ${head.kvm}, seed ${head.seed}`,
    ),
    `stage 2: ${granule} granule, ${ipaBits} bits of IPA, ${pages} at level ${startLevel}`,
    register('VTCR_EL2', head.vtcr, decodeVtcrFields),
    register('VTTBR_EL2', head.vttbr, decodeVttbrFields),
    '',
    ...(ranges.length === 0
      ? ['no entries']
      : ranges.map((range) => line(range, geometry, startLevel))),
    '',
  ].join('\n');
}

function register(name: string, value: string, decode: (value: bigint) => Decoded): string {
  return `${name.padEnd(9)} ${value} ${fieldsText(decode(BigInt(value)))}`;
}

/** Level, input addresses, what is there, the first raw entry, where it leads, fields. */
function line({ first, count }: DumpRange, geometry: Geometry, startLevel: number): string {
  const { ipa, level, kind, value, attributes } = first;
  const bytes = count * geometry.sizeOf(level);
  const indent = '  '.repeat(level - startLevel);
  const what = kind === 'invalid' ? String(attributes['is']) : kind;
  return [
    `${indent}${level}`.padEnd(2 * (3 - startLevel) + 1),
    `${hex64(ipa)}-${hex64(ipa + bytes)}`,
    (kind === 'table' ? what : `${count} ${what}`).padEnd(WHAT_WIDTH),
    hex64(value),
    ...leadsTo(first, bytes),
    fieldsText(attributes, 'is'),
  ]
    .join(' ')
    .trimEnd();
}

function leadsTo({ kind, oa }: DumpRange['first'], bytes: number): string[] {
  if (kind === 'invalid') return [];
  if (kind === 'table') return [`to 0x${oa.toString(16)}`];
  return [`to 0x${oa.toString(16)}-0x${(oa + bytes).toString(16)}`];
}

function fieldsText(fields: Decoded, without?: string): string {
  return Object.entries(fields)
    .filter(([name]) => name !== without)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}
