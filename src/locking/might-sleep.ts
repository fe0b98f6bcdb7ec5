import { event } from '#port';
import { EventKind } from '../engine/events.ts';

/**
 * Says that the calling function may sleep, whether or not it does this time: the checker of locks refuses it under a spin lock and in an
 * RCU section (invariant 41). Nothing where nobody listens.
 */
export function mightSleep(): void {
  event(EventKind.mightSleep, 0, 0, 0);
}
