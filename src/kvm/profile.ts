/** Kernel profiles: a released algorithm plus the named later fixes that are applied by default (design, "Kernel profiles"). */

import type { HostKernel } from '../machine/features.ts';
import { legacyIpaLimit } from '../pgtable/legacy/ipa-limit.ts';
import { LegacyStage2 } from './legacy/legacy-stage2.ts';
import { RewrittenStage2 } from './rewritten-stage2.ts';
import type { Stage2Operations } from './stage2-operations.ts';
import type { VmidAllocator, VmidParts } from './vmid/vmid-allocator.ts';
import { VmidCounter } from './vmid/vmid-counter.ts';

/** A fix that a profile carries although its release did not. */
export interface Fix {
  readonly id: string;
  /** Release that brought it, or when it was posted. */
  readonly since: string;
  readonly what: string;
}

export type ProfileName = 'legacy' | '5.10';

export interface Profile {
  readonly name: ProfileName;
  readonly fixes: readonly Fix[];
  readonly stage2: Stage2Operations;
  /** The most bits of IPA that a VM may have (specification section 1.6). */
  readonly ipaLimit: (host: HostKernel) => number;
  /** Dirty rings: arm64 has them from 6.2 on. */
  readonly hasDirtyRing: boolean;
  /** Who gives out VMIDs (section 7.4). */
  readonly vmids: (parts: VmidParts) => VmidAllocator;
}

const countVmids = (parts: VmidParts): VmidAllocator => new VmidCounter(parts);

/** Of the fault handler, which both generations of the table code share. */
const SEQUENCE_FIX: Fix = {
  id: 'sequence-under-mmap-lock',
  since: '6.3',
  what: 'a fault reads the notifier sequence before it releases the mmap lock, so that no block is built from an area that is gone',
};

const WALK_FIX: Fix = {
  id: 'walk-reads',
  since: '6.2',
  what: "a fault on a guest's stage-1 walk is a write only if it is about a permission, so that read-only slots can hold its tables",
};

const LEGACY: Profile = {
  name: 'legacy',
  fixes: [SEQUENCE_FIX, WALK_FIX],
  stage2: new LegacyStage2(),
  ipaLimit: legacyIpaLimit,
  hasDirtyRing: false,
  vmids: countVmids,
};

const PROFILE_5_10: Profile = {
  name: '5.10',
  fixes: [
    {
      id: 'walker-tail-rounding',
      since: '5.12',
      what: 'the walker rounds its cursor down to the entry before it advances, so that no tail is skipped',
    },
    {
      id: 'unmap-table-hint',
      since: '6.9',
      what: 'removing an empty table invalidates without a level hint, so that walk caches are reached',
    },
    SEQUENCE_FIX,
    WALK_FIX,
    {
      id: 'top-up-to-dissolve',
      since: 'posted in 2026',
      what: 'the memcache is filled for every fault that gets a smaller leaf than it met, so that no execution finds it empty',
    },
  ],
  stage2: new RewrittenStage2(),
  // Stage 2 has its own depth: only the machine limits it.
  ipaLimit: ({ paBits }) => paBits,
  hasDirtyRing: false,
  vmids: countVmids,
};

/** What `--kvm` accepts. */
export const PROFILES: Readonly<Record<ProfileName, Profile>> = {
  legacy: LEGACY,
  '5.10': PROFILE_5_10,
};

/** The profile whose code changes the twin of a table. */
export function twinOf(name: ProfileName): ProfileName {
  return name === 'legacy' ? '5.10' : 'legacy';
}

export const DEFAULT_PROFILE: ProfileName = '5.10';
