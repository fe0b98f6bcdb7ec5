/** What an abort was about (specification section 5B). */
import type { AccessKind } from '../machine/cpu.ts';
import { FSC, type FaultRecord } from '../machine/syndrome.ts';

/**
 * The access that faulted: one kind, so that nothing is a write and an execution at once. A stage-1 walk reads, whatever it was for, until
 * it misses a permission: then it means to set an access flag. `5.10` as released took every walk for a write, so that no guest could
 * have its tables in a read-only slot, and all of them were dirty (fix `walk-reads`).
 */
export function accessOf(fault: FaultRecord): AccessKind {
  if (fault.isStage1Walk()) return fault.type === FSC.permission ? 'write' : 'read';
  if (fault.isInstructionAbort()) return 'exec';
  return fault.writeNotRead() ? 'write' : 'read';
}

/** Synchronous external aborts and parity or ECC errors, direct or on a walk. */
export function isExternalAbort({ statusCode, type }: FaultRecord): boolean {
  const isDirect = statusCode === FSC.external || statusCode === FSC.parity;
  return isDirect || type === FSC.externalOnWalk || type === FSC.parityOnWalk;
}

/** Whether the table itself was in the way: the faults that can be resolved. */
export function isTableFault({ type }: FaultRecord): boolean {
  return type === FSC.translation || type === FSC.access || type === FSC.permission;
}
