import { ExclusiveLock } from './exclusive-lock.ts';

/**
 * A FIFO mutex: its holder may sleep, under other mutexes too. Deviation from the kernel's, where a runner may overtake a sleeper until
 * the sleeper insists: here an unlock always hands over, which costs a wake-up for each contended turn and needs no second rule.
 */
export class Mutex extends ExclusiveLock {
  readonly kind = 'mutex';
}
