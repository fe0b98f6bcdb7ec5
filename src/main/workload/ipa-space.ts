import { isSlotProgram, type HostProgram, type Slot } from '../../workers/scenario.ts';
import type { Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';

/** The guest physical addresses of a VM, and what of them is memory from the beginning. */
export interface IpaSpace {
  readonly pageBytes: number;
  readonly ipaBits: number;
  readonly slots: readonly Slot[];
}

/** Guest physical addresses that host programs use for a while. */
export interface UsedRange {
  readonly base: number;
  readonly bytes: number;
}

/** Throws a UserError unless the range, whose first address stands at `path`, is whole pages, below the limit and outside every slot. */
export function checkRange(
  source: YamlSource,
  path: Path,
  { pageBytes, ipaBits, slots }: IpaSpace,
  range: UsedRange,
): void {
  const { base, bytes } = range;
  if (base % pageBytes !== 0)
    throw source.problem(path, `0x${base.toString(16)} is not a multiple of the page size`);
  // Off by one as in 5.10: the last page of the IPA space is not usable.
  if (base + bytes >= 2 ** ipaBits) {
    throw source.problem(
      path,
      `ends at 0x${(base + bytes).toString(16)}: it has to end below 0x${(2 ** ipaBits).toString(16)} (vm.ipaBits ${ipaBits})`,
    );
  }
  const other = slots.find((slot) => overlap(slot, range));
  if (other !== undefined)
    throw source.problem(path, `overlaps the slot at 0x${other.base.toString(16)}`);
}

/** What each program uses besides the slots: null for nothing. */
export function usedRanges(
  programs: readonly HostProgram[],
  { slots }: IpaSpace,
): (UsedRange | null)[] {
  return programs.map((program) => {
    if (!isSlotProgram(program)) return null;
    const { base, bytes } = slots[program.slot] as Slot;
    return program.base === base ? null : { base: program.base, bytes };
  });
}

/**
 * Throws a UserError if registers are mapped in their own slot while another program takes that away: what is mapped in a slot that is gone
 * stays mapped.
 */
export function checkRegisters(
  source: YamlSource,
  path: Path,
  programs: readonly HostProgram[],
  { slots }: IpaSpace,
): void {
  const places = programs.filter(isSlotProgram);
  const isGone = (slot: number): boolean =>
    places.some(
      (other) =>
        other.slot === slot && (other.action === 'replace-slot' || other.action === 'move-slot'),
    );
  const wrong = programs.findIndex(
    (program) =>
      program.action === 'ioremap' &&
      program.base === slots[program.slot]?.base &&
      isGone(program.slot),
  );
  if (wrong !== -1) {
    throw source.problem(
      [...path, 'hosts', wrong, 'action'],
      'ioremap in a slot that another program of the phase takes away: give it a base outside',
    );
  }
}

/** Throws a UserError if two programs of a phase use the same addresses. `ranges`: by program, as of {@link usedRanges}. */
export function checkApart(
  source: YamlSource,
  path: Path,
  ranges: readonly (UsedRange | null)[],
): void {
  for (const [i, range] of ranges.entries()) {
    if (range === null) continue;
    const other = ranges.findIndex(
      (candidate, j) => j < i && candidate !== null && overlap(candidate, range),
    );
    if (other === -1) continue;
    throw source.problem(
      [...path, 'hosts', i, 'base'],
      `overlaps what hosts[${other}] of the phase uses`,
    );
  }
}

function overlap(a: UsedRange, b: UsedRange): boolean {
  return a.base < b.base + b.bytes && b.base < a.base + a.bytes;
}
