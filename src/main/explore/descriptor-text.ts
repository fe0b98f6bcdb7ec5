/** A table entry in a few words. The level is not known: a block and a page are both a leaf. */
import { Descriptor, EMPTY } from '../../machine/descriptor.ts';
import type { Geometry } from '../../machine/geometry.ts';
import { isLocked } from '../../pgtable/invalid-entry.ts';
import { hex64 } from '../dump/snapshot.ts';

export function descriptorText(entry: Descriptor, geometry: Geometry): string {
  if (entry.equals(EMPTY)) return 'empty';
  if (isLocked(entry)) return 'LOCKED';
  if (!entry.isValid()) return `invalid ${hex64(entry.toBigInt())}`;
  const address = entry.address(geometry);
  const at = `0x${address.toString(16)}`;
  if (entry.equals(Descriptor.table(geometry, address))) return `table ${at}`;
  const says = [
    entry.isWritable() ? 'W' : 'RO',
    entry.isExecutable() ? 'X' : 'XN',
    entry.isYoung() ? 'AF' : 'old',
  ];
  return `leaf ${at} ${says.join(' ')}`;
}
