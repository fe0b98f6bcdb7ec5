/** What is left when the host's address space has ended (specification section 5L): no table, and no page but those that nobody owns. */
import { drive, read32 } from '#port';
import { hostAccounts } from '../../kvm/host/accounts.ts';
import { OWNER_POISONED, OWNER_ZERO } from '../../kvm/host/pages.ts';
import { TableDigest } from '../../pgtable/digest.ts';
import { does } from '../../workers/scenario.ts';
import type { World } from '../../workers/world.ts';
import { notifierClosed } from './notifier.ts';
import type { Finding, VmVerification } from './verify.ts';

export function tornDown(world: World): VmVerification {
  if (!does(world.scenario, 'teardown')) throw new Error('verification without a stage-2 table');
  const digest = new TableDigest().hex();
  return {
    findings: [...twinGone(world), ...notifierClosed(world), ...kept(world)],
    scans: [],
    tables: {
      digest,
      tablePages: 0,
      leaves: [0, 0, 0, 0],
      comparison: 'torn-down',
      referenceLeaves: 0,
      copies: null,
      twin: world.vm.parts.twin === null ? null : { digests: [digest, digest], equal: true },
    },
  };
}

/** The tables were compared before they went, in the same section of `mmu_lock`. */
function twinGone({ layout }: World): Finding[] {
  if (read32(layout.words.twinRoot) !== 0)
    return [{ verdict: 'frame-lost', message: "the twin's table is still there" }];
  if (read32(layout.words.twinDifferences) === 0) return [];
  return [{ verdict: 'twin', message: 'the table and its twin differed when they were torn down' }];
}

/** The process is gone: it has the zero pages, and broken frames are nobody's. */
function* kept({ vm, memory }: World): Iterable<Finding> {
  const { frames, swap } = drive(hostAccounts(vm.parts.host.mm));
  for (const frame of frames.keys()) {
    const owner = drive(memory.guest.owner(frame));
    if (owner === OWNER_ZERO || owner === OWNER_POISONED) continue;
    yield { verdict: 'frame-kept', message: `guest frame 0x${frame.toString(16)} is still in use` };
  }
  if (swap.size > 0)
    yield { verdict: 'frame-kept', message: `${swap.size} places in swap are still in use` };
}
