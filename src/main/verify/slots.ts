/** The slots after a run: those of the scenario, where it has them; whoever added or moved one undid it. */
import type { World } from '../../workers/world.ts';
import type { Finding } from './verify.ts';

export function slotsRestored({ vm, scenario }: World): Finding[] {
  const found = vm.parts.memslots.slots.map(({ id, ipa, bytes }) => shown(id, ipa, bytes));
  const wanted = scenario.slots.map(({ base, bytes }, id) => shown(id, base, bytes));
  const strange = [
    ...found.filter((slot) => !wanted.includes(slot)),
    ...wanted.filter((slot) => !found.includes(slot)),
  ];
  return strange.map((slot) => ({
    verdict: 'slots',
    message: `${slot} is ${found.includes(slot) ? 'left over' : 'gone'}`,
  }));
}

function shown(id: number, ipa: number, bytes: number): string {
  return `slot ${id} at IPA 0x${ipa.toString(16)} of ${bytes} bytes`;
}
