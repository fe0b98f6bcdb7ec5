/** The stage-2 table of a run, taken while nothing runs, and its document. */
import { drive } from '#port';
import { dumpTable, type DumpEntry } from '../../pgtable/dump.ts';
import type { Geometry } from '../../machine/geometry.ts';
import type { World } from '../../workers/world.ts';
import { granuleOf } from '../granule.ts';
import type { DumpDocument } from '../result.ts';
import { UserError } from '../user-error.ts';

/** A table with all that is needed to print it. */
export interface Snapshot {
  readonly head: Omit<DumpDocument, 'entries' | 'invalid'>;
  readonly geometry: Geometry;
  /** Depth first. */
  readonly entries: readonly DumpEntry[];
}

/** What a run says about itself in a dump. */
type RunHead = Pick<DumpDocument, 'engine' | 'seed'>;

/** Reads the live table. Only while no agent runs. */
export function takeSnapshot({ vm, scenario }: World, run: RunHead): Snapshot {
  const pgt = drive(vm.pgt());
  if (pgt === null) throw new UserError(`${scenario.name} tears its table down: nothing to dump`);
  const { vtcr, vttbr } = drive(vm.registers());
  const { geometry, iaBits: ipaBits, startLevel, pgdPages: rootPages } = pgt;
  return {
    head: {
      schema: 'faultline.dump/1',
      workload: scenario.name,
      engine: run.engine,
      kvm: scenario.kvm,
      vcpus: scenario.vcpus,
      seed: run.seed,
      geometry: { granule: granuleOf(geometry), ipaBits, startLevel, rootPages },
      vtcr: hex64(BigInt(vtcr)),
      vttbr: hex64((BigInt(vttbr.hi >>> 0) << 32n) | BigInt(vttbr.lo >>> 0)),
    },
    geometry,
    entries: drive(dumpTable(pgt)),
  };
}

/** The snapshot as a document. */
export function documentOf({ head, entries }: Snapshot): DumpDocument {
  return {
    ...head,
    entries: entries.flatMap(({ ipa, level, kind, value, oa, attributes }) =>
      kind === 'invalid' ? [] : [{ ipa, level, kind, descriptor: hex64(value), oa, attributes }],
    ),
    invalid: entries
      .filter(({ kind }) => kind === 'invalid')
      .map(({ ipa, level, value, attributes }) => ({
        ipa,
        level,
        descriptor: hex64(value),
        attributes,
      })),
  };
}

/** `0x` and 16 digits. */
export function hex64(value: bigint | number): string {
  return `0x${value.toString(16).padStart(16, '0')}`;
}
