import { guestTableBytes } from '../../workers/guest-tables.ts';
import { hostProgramsOf, type Course, type Slot } from '../../workers/scenario.ts';
import type { WorkloadFile } from './schema.ts';
import { slotPages, type Placement } from './slots.ts';
import type { YamlSource } from '../yaml-source.ts';

/** Tables lie apart from what they map. */
const alignment = 2 ** 28;
/** Bits of the addresses that a guest's descriptors hold. */
const outputBits = 48;

/**
 * The slot for the tables of a guest with stage 1, above all others; none without. Throws a UserError for a guest that cannot have them.
 */
export function tableSlots(
  source: YamlSource,
  { vm, failures }: WorkloadFile,
  placement: Placement,
): Slot[] {
  const { stage1, contents, ipaBits } = vm;
  if (stage1 === undefined) return [];
  if (contents === 'line')
    throw source.problem(['vm', 'contents'], 'the tables of vm.stage1 need whole pages: use page');
  if (stage1.dirtyState && stage1.accessFlag === 'preset')
    throw source.problem(['vm', 'stage1', 'dirtyState'], 'needs accessFlag: hardware');
  if (failures.length > 0)
    throw source.problem(['failures'], 'would strike the guest of vm.stage1 while it boots');
  const { slots, pageBytes } = placement;
  const mapped = slotPages(placement) * pageBytes;
  // Pages lie in the upper half of a table's reach.
  if (mapped > 2 ** 38) throw source.problem(['slots'], 'more than 256 GiB, which vm.stage1 maps');
  const end = Math.max(...slots.map(({ base, bytes }) => base + bytes));
  const base = Math.ceil(end / alignment) * alignment;
  const bytes = Math.ceil(guestTableBytes(stage1, mapped) / pageBytes) * pageBytes;
  if (base + bytes >= 2 ** Math.min(ipaBits, outputBits))
    throw source.problem(['vm', 'ipaBits'], 'no room for the tables of vm.stage1 above the slots');
  return [{ base, bytes, logging: false }];
}

/** Throws a UserError for a host that would take the tables away. */
export function checkTablesStay(source: YamlSource, { vm }: WorkloadFile, course: Course): void {
  if (vm.stage1 === undefined) return;
  if (hostProgramsOf(course).some(({ action }) => action === 'discard'))
    throw source.problem(['vm', 'stage1'], 'a host that discards all memory takes the tables, too');
}
