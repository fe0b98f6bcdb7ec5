/**
 * Each vCPU's word in each page holds its last acknowledged write, or what the page began with: in the page's frame, or in swap. A page that the
 * host has nothing for holds zeros.
 */
import { drive, high, load64, Order, type Word } from '#port';
import type { Hva } from '../../machine/address.ts';
import type { World } from '../../workers/world.ts';
import { InitialContents } from '../../workers/snapshot.ts';
import type { ReferencePage } from './reference.ts';
import type { Finding } from './verify.ts';

const WORD_BYTES = 8;

/** Registers, or wherever the host has the page. */
function baseOf({ vm, memory }: World, hva: Hva): Word | null {
  const frame = vm.parts.host.lookup(hva);
  return memory.devices.contains(frame)
    ? memory.devices.wordOf(frame)
    : vm.parts.host.contentsOf(hva);
}

export function* contents(world: World, pages: readonly ReferencePage[]): Iterable<Finding> {
  const initial = new InitialContents(world.scenario, world.layout);
  for (const { page, hva, ipa, entries } of pages) {
    const base = baseOf(world, hva);
    for (const [vcpu, entry] of entries.entries()) {
      const at = base === null ? null : base + vcpu * WORD_BYTES;
      const sequence = at === null ? 0 : drive(load64(at, Order.once));
      const writer = at === null ? 0 : high();
      const expected = entry?.sequence ?? 0;
      const { lo, hi } = expected === 0 ? initial.wordOf(page) : { lo: expected, hi: vcpu + 1 };
      if (sequence === lo && writer === hi) continue;
      yield {
        verdict: 'lost-write',
        message:
          `IPA 0x${ipa.toString(16)}: the word of vCPU ${vcpu} holds write ${sequence} of writer ${writer}, ` +
          `its last acknowledged write is ${expected}`,
      };
    }
  }
}
