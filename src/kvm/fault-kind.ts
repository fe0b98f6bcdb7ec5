/** What an abort was about (specification section 5B, profile `5.10`). */
import type { AccessKind } from '../machine/cpu.ts';
import { FSC, type FaultRecord } from '../machine/syndrome.ts';

/**
 * The access that faulted: one kind, so that nothing is a write and an execution at once. A fault on a stage-1 walk counts as a write,
 * whatever the walk was for: the guest's walker may set an access flag.
 */
export function accessOf(fault: FaultRecord): AccessKind {
  if (fault.isStage1Walk()) return 'write';
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
