/** A vCPU as its own thread sees it. */
import type { FaultRecord } from '../machine/syndrome.ts';
import type { Memcache } from './memcache.ts';

/** An exception that the host injected into the guest. */
export type Injected = 'prefetchAbort' | 'dataAbort' | 'systemError';

export interface Vcpu {
  readonly memcache: Memcache;
  /** Offset of the counter of notifier retries in the agent's statistics block. */
  readonly retried: number;
  /** ESR, FAR and HPFAR of the fault being handled. */
  fault: FaultRecord;
  /** The last exception injected; the guest that would take it is not modelled. */
  injected: Injected | null;
}

/**
 * How handling an abort ends. `resume`: back to the guest (1 in the kernel). `mmio`, `noSyndrome`: to user space, for an access outside
 * every slot, with and without a decoded instruction. `fault`: -EFAULT. `noMemory`: -ENOMEM.
 */
export type AbortResult = 'resume' | 'mmio' | 'noSyndrome' | 'fault' | 'noMemory';
