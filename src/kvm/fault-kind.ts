/** What an abort was about (specification section 5B, profile `5.10`). Never both. */
import type { FaultRecord } from '../machine/syndrome.ts';

export function isExecFault(fault: FaultRecord): boolean {
  return fault.isInstructionAbort() && !fault.isStage1Walk();
}

/** A fault on a stage-1 walk counts as a write: the guest's walker may set an access flag. */
export function isWriteFault(fault: FaultRecord): boolean {
  if (fault.isStage1Walk()) return true;
  return !fault.isInstructionAbort() && fault.writeNotRead();
}

/** Synchronous external aborts and parity or ECC errors, direct or on a walk. */
export function isExternalAbort(fault: FaultRecord): boolean {
  const { statusCode } = fault;
  const isExternal = statusCode === 0x10 || (statusCode >= 0x14 && statusCode <= 0x17);
  const isParity = statusCode === 0x18 || (statusCode >= 0x1c && statusCode <= 0x1f);
  return isExternal || isParity;
}
