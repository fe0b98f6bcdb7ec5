/**
 * The second oracle: no write to a slot that logs is lost to who harvests its log (invariants 53 and 54). A page whose bit is not set has not
 * been written since the log began; or, where the log is harvested, equals the copy that a harvest made of it.
 *
 * It cannot see a write that came before the log began by the vCPU's own account, nor, on a slot that nobody harvests, which of several
 * writes to a page was missed.
 */
import { read32 } from '#port';
import type { Memslot } from '../../kvm/memslots.ts';
import type { SlotLogLayout } from '../../workers/slot-log.ts';
import { does } from '../../workers/scenario.ts';
import type { World } from '../../workers/world.ts';
import { differenceAt } from './copies.ts';
import type { ReferencePage } from './reference.ts';
import type { Finding } from './verify.ts';

export function* dirtyLogs(world: World, pages: readonly ReferencePage[]): Iterable<Finding> {
  // Rings have the pages instead; mapped.ts looks whether whatever has W is in one.
  if (world.layout.dirtyRings.length > 0) return;
  const accessed = new Map(pages.map((page) => [page.ipa, page]));
  for (const slot of world.vm.parts.memslots.slots) {
    const log = world.layout.slotLogs[slot.id];
    if (log === undefined || !slot.isLogging()) continue;
    for (let page = 0; page < slot.pages; page++) {
      if (slot.isDirty(page)) continue;
      const ipa = slot.ipa + page * slot.pageBytes;
      const message = isTaken(log)
        ? staleCopy(world, slot, page, accessed.get(ipa))
        : unlogged(log, accessed.get(ipa));
      if (message === null) continue;
      yield {
        verdict: 'dirty-lost',
        message: `IPA 0x${ipa.toString(16)} is not dirty: ${message}`,
      };
    }
  }
}

/** Whether bits of the log may have been taken: then the copy answers for them. */
function isTaken({ copy, bulkDue }: SlotLogLayout): boolean {
  return copy !== null && read32(bulkDue) === 0;
}

/** Nobody takes bits of this log: whatever was written since it began is dirty. */
function unlogged({ begun }: SlotLogLayout, page: ReferencePage | undefined): string | null {
  const since = read32(begun);
  const entries = page?.entries ?? [];
  const vcpu = entries.findIndex(
    (entry) => entry !== null && entry.sequence !== 0 && entry.logEpoch >= since,
  );
  if (vcpu === -1) return null;
  return `write ${entries[vcpu]?.sequence} of vCPU ${vcpu} came while the slot logged`;
}

/** A page that is not dirty is as its copy has it. A discard changes pages that nobody wrote, and is not logged. */
function staleCopy(
  world: World,
  { id }: Memslot,
  index: number,
  page: ReferencePage | undefined,
): string | null {
  const at = differenceAt(world, id, index);
  if (at === null) return null;
  const vcpu = Math.floor(at / WORD_BYTES);
  const sequence = page?.entries[vcpu]?.sequence ?? 0;
  const isWritten = page?.entries.some((entry) => (entry?.sequence ?? 0) !== 0) ?? false;
  if (!isWritten && does(world.scenario, 'discard')) return null;
  return `the copy lacks write ${sequence} of vCPU ${vcpu}, at byte ${at} of the page`;
}

/** A vCPU's own word in each page. */
const WORD_BYTES = 8;
