/** Kernel profiles: a released algorithm plus the named later fixes that are applied by default (design, "Kernel profiles"). */

import type { HostKernel } from '../machine/features.ts';
import { legacyIpaLimit } from '../pgtable/legacy/ipa-limit.ts';
import { EagerSplit, NO_SPLIT, type BlockSplitter } from './generations/eager-split.ts';
import { ExclusiveStage2 } from './generations/exclusive-stage2.ts';
import {
  NO_SECTIONS,
  RcuSections,
  type SectionParts,
  type WalkSections,
} from './generations/walk-sections.ts';
import { LegacyStage2 } from './legacy/legacy-stage2.ts';
import {
  CountingGate,
  NO_GATE,
  type GateParts,
  type InvalidationGate,
} from './generations/invalidation-gate.ts';
import { KvmNotifier518, KvmNotifier612 } from './generations/kvm-notifier-518.ts';
import { KvmNotifier } from './kvm-notifier.ts';
import type { Memcache } from './memcache.ts';
import type { MmuLockKind } from './mmu-lock.ts';
import { ParallelStage2 } from './generations/parallel-stage2.ts';
import { RewrittenStage2 } from './rewritten-stage2.ts';
import type { Stage2Operations } from './stage2-operations.ts';
import { SlotPreparation, SlotValidation } from './generations/slot-preparation.ts';
import { UserMemAbort518 } from './generations/user-mem-abort-518.ts';
import { UserMemAbort612 } from './generations/user-mem-abort-612.ts';
import { UserMemAbort } from './user-mem-abort.ts';
import type { VmidAllocator, VmidParts } from './vmid/vmid-allocator.ts';
import { VmidBitmap } from './vmid/vmid-bitmap.ts';
import { VmidCounter } from './vmid/vmid-counter.ts';

/** A fix that a profile carries although its release did not. */
export interface Fix {
  readonly id: string;
  /** Release that brought it, or when it was posted. */
  readonly since: string;
  readonly what: string;
}

export type ProfileName = 'legacy' | '5.10' | '5.18' | '6.12';

export interface Profile {
  readonly name: ProfileName;
  readonly fixes: readonly Fix[];
  /** What `mmu_lock` is. */
  readonly mmuLock: MmuLockKind;
  readonly stage2: Stage2Operations;
  readonly faults: UserMemAbort;
  readonly Notifier: typeof KvmNotifier;
  readonly gateOf: (at: GateParts) => InvalidationGate;
  readonly sectionsOf: (parts: SectionParts) => WalkSections;
  /** Whether a table that a block replaced is freed later, by a daemon. */
  readonly defersFrees: boolean;
  readonly splitterOf: (cache: Memcache) => BlockSplitter;
  readonly preparation: SlotPreparation;
  /** The most bits of IPA that a VM may have (specification section 1.6). */
  readonly ipaLimit: (host: HostKernel) => number;
  /** Dirty rings: arm64 has them from 6.2 on. */
  readonly hasDirtyRing: boolean;
  /** Who gives out VMIDs (section 7.4). */
  readonly vmids: (parts: VmidParts) => VmidAllocator;
}

const mapVmids = (parts: VmidParts): VmidAllocator => new VmidBitmap(parts);
const countVmids = (parts: VmidParts): VmidAllocator => new VmidCounter(parts);

/** Of the fault handler, which both generations of the table code share. */
const SEQUENCE_FIX: Fix = {
  id: 'sequence-under-mmap-lock',
  since: '6.3',
  what: 'a fault reads the notifier sequence before it releases the mmap lock, so that no block is built from an area that is gone',
};

const UNMAP_HINT_FIX: Fix = {
  id: 'unmap-table-hint',
  since: '6.9',
  what: 'removing an empty table invalidates without a level hint, so that walk caches are reached',
};

const TOP_UP_FIX: Fix = {
  id: 'top-up-to-dissolve',
  since: 'posted in 2026',
  what: 'the memcache is filled for every fault that gets a smaller leaf than it met, so that no execution finds it empty',
};

/** Stage 2 has its own depth: only the machine limits it. */
function machineLimit({ paBits }: HostKernel): number {
  return paBits;
}

const WALK_FIX: Fix = {
  id: 'walk-reads',
  since: '6.2',
  what: "a fault on a guest's stage-1 walk is a write only if it is about a permission, so that read-only slots can hold its tables",
};

/** What the generations around the rewrite share: nobody walks beside another. */
const SPIN_LOCKED = {
  mmuLock: 'spin',
  faults: new UserMemAbort(),
  Notifier: KvmNotifier,
  preparation: new SlotPreparation(),
  gateOf: () => NO_GATE,
  sectionsOf: () => NO_SECTIONS,
  defersFrees: false,
  splitterOf: () => NO_SPLIT,
  hasDirtyRing: false,
  vmids: countVmids,
} as const satisfies Partial<Profile>;

/** What those with a reader-writer lock share. */
const READER_WRITER = {
  mmuLock: 'rw',
  preparation: new SlotValidation(),
  gateOf: (at) => new CountingGate(at),
  ipaLimit: machineLimit,
  vmids: mapVmids,
} as const satisfies Partial<Profile>;

const LEGACY: Profile = {
  name: 'legacy',
  ...SPIN_LOCKED,
  fixes: [SEQUENCE_FIX, WALK_FIX],
  stage2: new LegacyStage2(),
  ipaLimit: legacyIpaLimit,
};

const PROFILE_5_10: Profile = {
  name: '5.10',
  ...SPIN_LOCKED,
  fixes: [
    {
      id: 'walker-tail-rounding',
      since: '5.12',
      what: 'the walker rounds its cursor down to the entry before it advances, so that no tail is skipped',
    },
    UNMAP_HINT_FIX,
    SEQUENCE_FIX,
    TOP_UP_FIX,
    WALK_FIX,
  ],
  stage2: new RewrittenStage2(),
  ipaLimit: machineLimit,
};

const PROFILE_5_18: Profile = {
  name: '5.18',
  fixes: [SEQUENCE_FIX, UNMAP_HINT_FIX, TOP_UP_FIX, WALK_FIX],
  ...READER_WRITER,
  stage2: new ExclusiveStage2(),
  faults: new UserMemAbort518(),
  Notifier: KvmNotifier518,
  sectionsOf: () => NO_SECTIONS,
  defersFrees: false,
  splitterOf: () => NO_SPLIT,
  hasDirtyRing: false,
};

const PROFILE_6_12: Profile = {
  name: '6.12',
  fixes: [TOP_UP_FIX],
  ...READER_WRITER,
  stage2: new ParallelStage2(),
  faults: new UserMemAbort612(),
  Notifier: KvmNotifier612,
  sectionsOf: (parts) => new RcuSections(parts),
  defersFrees: true,
  splitterOf: (cache) => new EagerSplit(cache),
  hasDirtyRing: true,
};

/** What `--kvm` accepts. */
export const PROFILES: Readonly<Record<ProfileName, Profile>> = {
  legacy: LEGACY,
  '5.10': PROFILE_5_10,
  '5.18': PROFILE_5_18,
  '6.12': PROFILE_6_12,
};

/** The profile whose code changes the twin of a table. */
export function twinOf(name: ProfileName): ProfileName {
  return name === 'legacy' ? '5.10' : 'legacy';
}

export const DEFAULT_PROFILE: ProfileName = '5.10';
