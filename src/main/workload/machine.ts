import type { MachineShape } from '../../machine/shape.ts';
import { ARMV8_0 } from '../../machine/features.ts';
import { PAGE_SHIFTS } from '../granule.ts';
import type { WorkloadFile } from './schema.ts';
import type { Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';

/** Bits of an address in a descriptor that folds none. */
const plainAddressBits = 48;

/** The machine of a workload file. Throws a UserError for one that cannot be, or cannot have a VM of so many IPA bits. */
export function machineOf(source: YamlSource, { machine, vm }: WorkloadFile): MachineShape {
  const { granule, lpa2, paBits, fwb, xnx, tlbiRange, dic, vmidBits, cpus, speculation } = machine;
  const { ipaBits } = vm;
  if (lpa2 && granule === '64K') {
    throw source.problem(['machine', 'lpa2'], 'the 64K granule has 52-bit addresses without it');
  }
  if (ipaBits > plainAddressBits && !lpa2 && granule !== '64K') {
    throw source.problem(
      ['vm', 'ipaBits'],
      `more than ${plainAddressBits} bits with the ${granule} granule need machine.lpa2`,
    );
  }
  if (ipaBits > paBits) {
    throw source.problem(
      ['vm', 'ipaBits'],
      `${ipaBits} bits, and physical addresses of the machine have ${paBits} (machine.paBits)`,
    );
  }
  if (cpus !== undefined && cpus >= 2 ** vmidBits - 1) {
    throw source.problem(
      ['machine', 'vmidBits'],
      `${2 ** vmidBits - 1} VMIDs are too few for ${cpus} CPUs: each may have one, and another has to be free`,
    );
  }
  const hardwareAccessFlag = vm.stage1?.accessFlag === 'hardware';
  return {
    pageShift: PAGE_SHIFTS[granule],
    lpa2,
    features: { ...ARMV8_0, paBits, fwb, xnx, tlbiRange, dic, vmidBits, hardwareAccessFlag },
    ...(cpus === undefined ? {} : { cpus }),
    speculates: speculation,
  };
}

/** Throws a UserError unless `bytes`, the value at `path`, is a number of whole pages. */
export function checkWholePages(
  source: YamlSource,
  { machine }: WorkloadFile,
  path: Path,
  bytes: number,
): void {
  if (bytes % 2 ** PAGE_SHIFTS[machine.granule] === 0) return;
  throw source.problem(
    path,
    `0x${bytes.toString(16)} is not a multiple of the page size (${machine.granule})`,
  );
}
