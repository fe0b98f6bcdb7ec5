/** What is known of a lock by its class: all locks of one name are one class, as in the kernel's lockdep. Its card says the same. */

/** As in docs/locking.md; a `rwsem` is a reader-writer lock whose holder may sleep, a `rwlock` one whose holder may not. */
export type LockKind = 'spin' | 'rwlock' | 'mutex' | 'rwsem' | 'srcu' | 'rcu';

export interface LockClass {
  readonly name: string;
  readonly kind: LockKind;
  /** Operations of the port that a holder may make before it gives the lock back; Infinity for those under which agents sleep. */
  readonly holdStepsMax: number;
}

/** Whether taking it may put the agent to sleep: for SRCU and RCU, waiting for a grace period, which is their exclusive mode. */
export function maySleep(kind: LockKind, isShared: boolean): boolean {
  if (kind === 'mutex' || kind === 'rwsem') return true;
  return (kind === 'srcu' || kind === 'rcu') && !isShared;
}

/** Whether its holder may not sleep. */
export function isAtomic(kind: LockKind): boolean {
  return kind === 'spin' || kind === 'rwlock' || kind === 'rcu';
}

/** Whether taking it may have to wait for another holder: read sections never do. */
export function mayWait(kind: LockKind, isShared: boolean): boolean {
  return !(isShared && (kind === 'srcu' || kind === 'rcu'));
}
