import { ExclusiveLock } from './exclusive-lock.ts';

/** A FIFO spin lock. Its holder may not sleep. */
export class SpinLock extends ExclusiveLock {
  readonly kind = 'spin lock';
}
