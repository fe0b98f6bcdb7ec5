import { PROFILES, type ProfileName } from '../../kvm/profile.ts';
import type { Scenario } from '../../workers/scenario.ts';
import type { YamlSource } from '../yaml-source.ts';
import type { WorkloadFile } from './schema.ts';

/** The size of the dirty rings, if the VM is to have any. Throws a UserError for one that it cannot have. */
export function dirtyRingOf(
  source: YamlSource,
  { vm, slots }: WorkloadFile,
  kvm: ProfileName,
): Pick<Scenario, 'dirtyRing'> {
  const { dirtyRing } = vm;
  if (dirtyRing === undefined) return {};
  const path = ['vm', 'dirtyRing'];
  if (dirtyRing < 2 || (dirtyRing & (dirtyRing - 1)) !== 0)
    throw source.problem(path, `${dirtyRing} entries: not a power of two from 2 on`);
  if (!slots.some(({ logging }) => logging))
    throw source.problem(path, 'no slot logs from the start');
  if (!PROFILES[kvm].hasDirtyRing)
    throw source.problem(path, `the profile ${kvm} has no dirty ring: arm64 has it from 6.2 on`);
  return { dirtyRing };
}
