/** A vCPU as its own thread sees it. */
import type { Op } from '#port';
import type { Hva, Ipa } from '../machine/address.ts';
import { FaultRecord } from '../machine/syndrome.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { DirtyRing } from './dirty-ring.ts';
import type { Memcache } from './memcache.ts';
import type { MmioAccess } from './mmio.ts';
import { Registers, type RegisterValue } from './registers.ts';

/**
 * Faults that one access may take, whatever changes meanwhile. On threads, who meets a LOCKED entry or an open invalidation faults again at
 * once: for as long as an agent can be kept from the few steps that end it, which is seconds where machines are busy, and no longer.
 */
export const SENT_BACK_MAX: number = 2 ** 20;

/** An exception that the host injected into the guest. */
export interface Injection {
  readonly exception: 'prefetchAbort' | 'dataAbort' | 'addressSizeFault' | 'systemError';
  /** FAR of an abort; an SError has none. */
  readonly far: number | null;
}

/** What user space is told. */
export type Exit =
  /** A decoded load or store; `value`: what a store stores. `completeMmio` ends it. */
  | { readonly reason: 'mmio'; readonly access: MmioAccess; readonly value: RegisterValue }
  /** An access that is not decoded: CM, WnR and FSC of its ISS. */
  | { readonly reason: 'nisv'; readonly iss: number; readonly ipa: Ipa }
  /** With the result `fault`: memory that user space has to bring first. */
  | { readonly reason: 'memoryFault'; readonly ipa: Ipa; readonly bytes: number }
  /** Instead of an entry of the guest: user space has to collect the dirty ring first. */
  | { readonly reason: 'dirtyRingFull' };

/** The signal that tells user space of broken memory (SIGBUS, BUS_MCEERR_AR). */
export interface PoisonSignal {
  readonly hva: Hva;
  /** log2 of the bytes that are gone (si_addr_lsb). */
  readonly shift: number;
}

/**
 * How handling an abort ends. `resume`: back to the guest (1 in the kernel). `exit`: to user space, with `Vcpu.exit` (0). The others
 * are errors that user space gets: `noSystemCall` is -ENOSYS, of a not decoded access that it did not volunteer for; `fault` -EFAULT; else
 * see {@link Outcome}, of which a lost race is none: the guest simply faults again.
 */
export type AbortResult = 'resume' | 'exit' | 'noSystemCall' | Exclude<Outcome, 'ok' | 'again'>;

export class Vcpu {
  readonly memcache: Memcache;
  /** Offset of the counter of notifier retries in the agent's statistics block. */
  readonly retried: number;
  /** Where the pages that it is let write are recorded, instead of in the slots' bitmaps. */
  readonly ring: DirtyRing | null;
  readonly registers: Registers = new Registers();
  /** ESR, FAR and HPFAR of the fault being handled. */
  fault: FaultRecord = new FaultRecord(0, 0, 0);
  /** The last exception injected; the guest that would take it is not modelled. */
  injected: Injection | null = null;
  /** The last exit to user space. */
  exit: Exit | null = null;
  /** The last signal for broken memory. */
  signal: PoisonSignal | null = null;
  /** Bytes of instructions that the host stepped over for the guest. */
  pcAdvance = 0;

  constructor(options: {
    readonly memcache: Memcache;
    readonly retried: number;
    readonly ring?: DirtyRing | null;
  }) {
    this.memcache = options.memcache;
    this.retried = options.retried;
    this.ring = options.ring ?? null;
  }

  /** Before each entry of the guest: false, with an exit to user space, while the dirty ring is full. */
  *mayEnter(): Op<boolean> {
    if (this.ring === null || !(yield* this.ring.isSoftFull())) return true;
    this.exit = { reason: 'dirtyRingFull' };
    return false;
  }
}
