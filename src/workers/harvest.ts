/**
 * Harvest of a slot's dirty log as a migration does it: take the log, then copy what it names to where the copy of the slot is.
 *
 * The order is what makes the copy right: whoever writes a page after the log was taken faults first and sets its bit again, so a copy that
 * misses the write, or has half of it, is made once more. One agent at a time harvests a slot: of two, the slower could put an older
 * copy over a newer one.
 */
import { copy, count, type Op, type Word } from '#port';
import { isClean, isLogged, WORD_PAGES, type DirtyWord } from '../kvm/dirty-bitmap.ts';
import { clearDirtyLog, getDirtyLog, type DirtyLogError } from '../kvm/dirty-log.ts';
import type { Pinned } from '../kvm/host/pinned.ts';
import type { Hva } from '../machine/address.ts';
import { AgentFailure } from './failure.ts';
import type { SlotLayout } from './layout.ts';
import { takeBulk, type SlotLogLayout } from './slot-log.ts';
import { STATISTICS } from './statistics.ts';
import type { World } from './world.ts';

/** Words of a log that one call clears. */
const CLEAR_WORDS = 2;

/** Harvests a slot of the scenario; the first harvest after its log began copies all of it. Nothing happens to a slot that does not log. */
export function* harvest(world: World, id: number): Op<void> {
  const { vm, layout } = world;
  const slot = layout.slots[id] as SlotLayout;
  const state = layout.slotLogs[id] as SlotLogLayout;
  const log = checked(yield* getDirtyLog(vm, id));
  if (log === 'noEntry') return;
  if (vm.parts.dirtyLogMode !== 'harvest') yield* clearTaken(world, id, log);
  count(STATISTICS.harvests, 1);
  const isBulk = yield* takeBulk(state);
  for (let page = 0; page < slot.pages; page++) {
    if (isBulk || isLogged(log, page))
      yield* copyPage(world, slot, page, copyAt(world, state, page));
  }
}

/** Clears the bits of a log, a part at a time. Of a log that was stopped meanwhile, nothing is left to clear. */
function* clearTaken(world: World, id: number, log: readonly DirtyWord[]): Op<void> {
  const { pages } = world.layout.slots[id] as SlotLayout;
  for (let word = 0; word < log.length; word += CLEAR_WORDS) {
    const mask = log.slice(word, word + CLEAR_WORDS);
    if (mask.every(isClean)) continue;
    const firstPage = word * WORD_PAGES;
    const request = {
      id,
      firstPage,
      pages: Math.min(CLEAR_WORDS * WORD_PAGES, pages - firstPage),
      mask,
    };
    if (checked(yield* clearDirtyLog(world.vm, request)) === 'noEntry') return;
  }
}

function checked<T>(result: T | DirtyLogError): T | 'noEntry' {
  if (result === 'invalid') throw new Error('a harvest asked for what cannot be');
  return result;
}

/** Copies a page. What cannot be read at all, such as broken memory, is passed over. */
function* copyPage(world: World, slot: SlotLayout, page: number, to: Word): Op<void> {
  const { vm, memory } = world;
  const hva = (slot.hva + page * slot.pageBytes) as Hva;
  const { status, frame } = yield* pinToRead(world, hva);
  if (status === 'noMemory')
    throw new AgentFailure('noMemory', `harvest of user address 0x${hva.toString(16)}`);
  if (status !== 'page') return;
  yield* copy(to, memory.guest.wordOf(frame), memory.guest.layout.contentBytes);
  yield* vm.parts.host.unpin(frame);
  count(STATISTICS.pagesCopied, 1);
}

/** As user space reads a page: the zero page included. What fails on purpose is tried again. */
function* pinToRead({ vm, failures }: World, hva: Hva): Op<Pinned> {
  for (;;) {
    const { struck } = failures;
    const pinned = yield* vm.parts.host.pin(hva, false);
    if (pinned.status === 'page' || failures.struck === struck) return pinned;
  }
}

/** Where the copy of a page is. */
function copyAt({ memory }: World, { copy: base }: SlotLogLayout, page: number): Word {
  if (base === null) throw new Error('a harvest without a place for its copy');
  return base + page * memory.guest.layout.contentBytes;
}
