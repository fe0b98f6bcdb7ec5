/** The live table and its twin, compared in canonical form. */
import { drive, read32 } from '#port';
import { dumpTable, type DumpEntry } from '../../pgtable/dump.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import type { World } from '../../workers/world.ts';
import type { RunResult } from '../result.ts';
import type { Finding } from './verify.ts';

/** What the twin check found; null without it. */
export type TwinResult = NonNullable<RunResult['twin']> | null;

/** Compares the two tables once more, after the comparison at SYSTEM_OFF. */
export function compareTwin({ vm }: World, pgt: Stage2Pgtable): TwinResult {
  const { twin } = vm.parts;
  if (twin === null) return null;
  const digests = drive(twin.compare(pgt));
  return { digests, equal: digests[0] === digests[1] };
}

export function* twinDifference(
  world: World,
  pgt: Stage2Pgtable,
  result: TwinResult,
): Iterable<Finding> {
  const { twin } = world.vm.parts;
  if (twin === null || result === null) return;
  if (!result.equal) {
    const other = drive(twin.pgt());
    const place = firstDifference(drive(dumpTable(pgt)), drive(dumpTable(other)));
    yield { verdict: 'twin', message: `the table and its twin differ: ${place}` };
  } else if (read32(world.layout.words.twinDifferences) > 0) {
    yield {
      verdict: 'twin',
      message: 'the table and its twin differed at SYSTEM_OFF, not at the end',
    };
  }
}

/** The first place where two tables say different things, in words. Where tables stand does not matter. */
function firstDifference(live: readonly DumpEntry[], twin: readonly DumpEntry[]): string {
  const [ours, theirs] = [live, twin].map((entries) => entries.filter(isValid).map(shown));
  for (let i = 0; i < Math.max(ours?.length ?? 0, theirs?.length ?? 0); i++) {
    const [one, two] = [ours?.[i], theirs?.[i]];
    if (one !== two) return `${one ?? 'nothing more'} here, ${two ?? 'nothing more'} there`;
  }
  return 'in what the access flag says';
}

function isValid({ kind }: DumpEntry): boolean {
  return kind !== 'invalid';
}

function shown({ ipa, level, kind, value }: DumpEntry): string {
  const what = kind === 'table' ? kind : `${kind} 0x${value.toString(16)}`;
  return `IPA 0x${ipa.toString(16)} level ${level} ${what}`;
}
