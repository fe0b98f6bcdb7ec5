/**
 * What guest memory holds before anybody wrote it: zeros, or the contents of a snapshot from which the machine is resumed. Each page of
 * a snapshot is full of a word of its own, so that a page in the wrong place shows, and one that was never brought.
 */
import type { Op } from '#port';
import { fillShared, type Filling } from '../kvm/host/filling.ts';
import type { VmArea } from '../kvm/host/vma.ts';
import type { Hva } from '../machine/address.ts';
import type { Layout, SlotLayout } from './layout.ts';
import type { Scenario, Slot } from './scenario.ts';
import type { World } from './world.ts';

/** High half of a snapshot's words: the number of no vCPU. */
const SNAPSHOT = 0x534e_4150;
const ZEROS: Filling = { lo: 0, hi: 0 };

/** The words of all pages of a run, by their index over all slots. */
export class InitialContents {
  readonly #isSnapshot: readonly boolean[];

  constructor(scenario: Scenario, layout: Layout) {
    this.#isSnapshot = scenario.slots.flatMap(({ snapshot }, slot) =>
      Array.from({ length: layout.slots[slot]?.pages ?? 0 }, () => snapshot === true),
    );
  }

  wordOf(page: number): Filling {
    return this.#isSnapshot[page] === true ? { lo: page + 1, hi: SNAPSHOT } : ZEROS;
  }
}

/**
 * Fills the shared object where a snapshot's contents are there from the beginning. False without memory; what fails on purpose is tried
 * again.
 */
export function* loadSnapshots(world: World): Op<boolean> {
  const { scenario, layout } = world;
  const contents = new InitialContents(scenario, layout);
  let first = 0;
  for (const [id, slot] of scenario.slots.entries()) {
    const { hva, pages, pageBytes } = layout.slots[id] as SlotLayout;
    for (let page = 0; isLoaded(slot) && page < pages; page++) {
      const at = (hva + page * pageBytes) as Hva;
      if (!(yield* loadPage(world, id, at, contents.wordOf(first + page)))) return false;
    }
    first += pages;
  }
  return true;
}

/** Of a slot that is registered for missing pages a handler brings the contents. */
function isLoaded({ snapshot, backing, userfault }: Slot): boolean {
  return snapshot === true && backing?.kind === 'shared' && userfault?.mode !== 'missing';
}

function* loadPage({ vm, failures }: World, id: number, hva: Hva, filling: Filling): Op<boolean> {
  const { mm } = vm.parts.host;
  const area = mm.vmas.areas[id] as VmArea;
  let { struck } = failures;
  while (!(yield* fillShared(mm, area, hva, filling))) {
    if (failures.struck === struck) return false;
    ({ struck } = failures);
  }
  return true;
}
