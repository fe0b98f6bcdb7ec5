/** Every invalidation that the host's notifier began has ended (specification section 8, invariant 46). */
import { read32 } from '#port';
import type { World } from '../../workers/world.ts';
import type { Finding } from './verify.ts';

export function notifierClosed({ layout }: World): Finding[] {
  const open = read32(layout.words.notifierCount);
  return open === 0
    ? []
    : [{ verdict: 'notifier-open', message: `${open} notifier invalidations are open` }];
}
