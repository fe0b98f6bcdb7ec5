/** What pinning a page for KVM found (specification section 5E step 8). */
import type { Level, Phys } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';

/**
 * `page`: the caller has a reference, which `unpin` drops; `device`: PFN-mapped, without a count; `poisoned`: the memory is broken;
 * `noMemory`: the host has no frame left; `fault`: no VMA there, no permission, or no huge page left: -EFAULT;
 * `userfault`: the process has to resolve the fault first, and whoever pins is to tell it.
 */
export type PinStatus = 'page' | 'device' | 'poisoned' | 'noMemory' | 'fault' | 'userfault';

export interface Pinned {
  readonly status: PinStatus;
  /** The frame of the page at the address, also inside a block; {@link NO_FRAME} without one. */
  readonly frame: Phys;
  /** Whether the host's mapping is writable, for a read too. */
  readonly isWritable: boolean;
  /** Level of the host's mapping: 3 for a page, 2 or 1 for a block. */
  readonly level: Level;
}

/** A pin that came to nothing. */
export function unpinned(status: Exclude<PinStatus, 'page' | 'device'>): Pinned {
  return { status, frame: NO_FRAME, isWritable: false, level: LAST_LEVEL };
}
