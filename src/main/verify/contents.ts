/** Each vCPU's word in each page holds its last acknowledged write, or the zero of a fresh page. A page without a frame is told elsewhere. */
import { drive, high, load64, Order } from '#port';
import type { World } from '../../workers/world.ts';
import { isBacked, type ReferencePage } from './reference.ts';
import type { Finding } from './verify.ts';

const WORD_BYTES = 8;

export function* contents(world: World, pages: readonly ReferencePage[]): Iterable<Finding> {
  for (const { frame, ipa, entries } of pages.filter(isBacked)) {
    const base = world.memory.wordOf(frame);
    for (const [vcpu, entry] of entries.entries()) {
      const sequence = drive(load64(base + vcpu * WORD_BYTES, Order.once));
      const writer = high();
      const expected = entry?.sequence ?? 0;
      if (sequence === expected && writer === (expected === 0 ? 0 : vcpu + 1)) continue;
      yield {
        verdict: 'lost-write',
        message:
          `IPA 0x${ipa.toString(16)}: the word of vCPU ${vcpu} holds write ${sequence} of writer ${writer}, ` +
          `its last acknowledged write is ${expected}`,
      };
    }
  }
}
