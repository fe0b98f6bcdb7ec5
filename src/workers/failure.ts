/** Ways in which an agent ends a run without a bug of the simulator. */
export type FailureKind =
  | 'livelock'
  | 'starved'
  | 'outsideSlots'
  | 'fault'
  | 'noMemory'
  | 'injected'
  | 'guestFault'
  | 'poisoned';

/** Thrown by an agent; a thread hands it to the main thread as a value. */
export class AgentFailure extends Error {
  readonly kind: FailureKind;

  /** `where`: which agent, doing what. */
  constructor(kind: FailureKind, where: string) {
    super(`${where}: ${TEXT[kind]}`);
    this.name = 'AgentFailure';
    this.kind = kind;
  }
}

const TEXT: Readonly<Record<FailureKind, string>> = {
  livelock: 'the access faults again and again although the host changes nothing',
  starved: 'the access is sent back again and again: something in its way has no end',
  outsideSlots: 'no memslot backs the address',
  fault: 'the fault handler failed (-EFAULT)',
  noMemory: 'the host is out of memory; raise machine.memory of the workload',
  poisoned: 'the memory behind the address is broken (SIGBUS)',
  guestFault: "the guest's own tables do not map the page",
  injected: 'the host injected an abort into the guest',
};
