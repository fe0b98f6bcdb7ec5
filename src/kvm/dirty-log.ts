/**
 * Dirty logging (specification section 5J): write-protection of a slot, and the harvest of its bitmap.
 *
 * The order of a harvest is what loses no write: take the bits, write-protect their pages, flush, report. With the last two swapped
 *  1. the harvest takes the bit of page 5 and reports it;
 *  2. user space copies page 5;
 *  3. vCPU 0 writes page 5 through a TLB entry that still has W;
 *  4. the flush comes; nobody copies page 5 again.
 * The first two stand in this order for a generation whose faults need not wait for `mmu_lock`: swapped, vCPU 0 would write between them, find
 * W gone, get it back and set the bit, which is then taken: reported, while vCPU 0 goes on writing unseen.
 */
import type { Op } from '#port';
import { isClean, span, WORD_PAGES, type DirtyWord } from './dirty-bitmap.ts';
import type { Memslot } from './memslots.ts';
import { applyRange, applyRangeLocked } from './range.ts';
import type { Vm } from './vm.ts';

/**
 * Who clears dirty bits: `harvest`, the call that gets them; `clear`, a call of its own; `clearAllSet`, the same, and a slot begins to log with
 * all bits set and without write-protection, which comes with the first clears (manual protect, initially set).
 */
export type DirtyLogMode = 'harvest' | 'clear' | 'clearAllSet';

/** A part of a slot whose dirty bits are to be cleared. */
export interface ClearRequest {
  readonly id: number;
  /** A multiple of 64. */
  readonly firstPage: number;
  /** A multiple of 64, unless it reaches the end of the slot. */
  readonly pages: number;
  /** Bits from `firstPage` on. */
  readonly mask: readonly DirtyWord[];
}

/** -EINVAL; -ENOENT: no such slot, or it has no bitmap. */
export type DirtyLogError = 'invalid' | 'noEntry';

/**
 * `slots_lock` is held. Takes W from every page of a slot and flushes: what is written from now on faults first. Then blocks are split,
 * in the generations that do.
 */
export function* writeProtectSlotLocked(vm: Vm, slot: Memslot): Op<void> {
  vm.parts.memslots.slotsLock.assertHeld();
  yield* applyRange(vm, slot, 'wrprotect');
  yield* vm.parts.mmu.tlbFlushVmid();
  yield* vm.parts.splitter.split(vm, slot);
}

/** The dirty bits of a slot. In mode `harvest` they are cleared, and their pages write-protected before this returns. */
export function* getDirtyLog(vm: Vm, id: number): Op<readonly DirtyWord[] | DirtyLogError> {
  const { slotsLock } = vm.parts.memslots;
  yield* slotsLock.lock();
  const slot = yield* loggingSlotLocked(vm, id);
  let log: readonly DirtyWord[] | DirtyLogError;
  if (typeof slot === 'string') log = slot;
  else if (vm.parts.dirtyLogMode === 'harvest') log = yield* harvestLocked(vm, slot);
  else log = yield* copyOf(slot);
  yield* slotsLock.unlock();
  return log;
}

/** Clears the dirty bits that `mask` names; those that were set have their pages write-protected before this returns. */
export function* clearDirtyLog(vm: Vm, request: ClearRequest): Op<'ok' | DirtyLogError> {
  const { slotsLock } = vm.parts.memslots;
  yield* slotsLock.lock();
  const slot = yield* loggingSlotLocked(vm, request.id);
  const outcome = yield* clearLocked(vm, slot, request);
  yield* slotsLock.unlock();
  return outcome;
}

function* clearLocked(
  vm: Vm,
  slot: Memslot | DirtyLogError,
  { firstPage, pages, mask }: ClearRequest,
): Op<'ok' | DirtyLogError> {
  if (firstPage % WORD_PAGES !== 0) return 'invalid';
  if (typeof slot === 'string') return slot;
  const left = slot.pages - firstPage;
  if (left < 0 || pages > left || (pages < left && pages % WORD_PAGES !== 0)) return 'invalid';
  const first = firstPage / WORD_PAGES;
  for (let i = 0; i < Math.ceil(pages / WORD_PAGES); i++) {
    slot.bitmap.writeScratch(first + i, mask[i] ?? NOTHING);
  }
  yield* takeAndProtect(vm, slot, first, Math.ceil(pages / WORD_PAGES));
  return 'ok';
}

const NOTHING: DirtyWord = { lo: 0, hi: 0 };
const EVERYTHING: DirtyWord = { lo: -1, hi: -1 };

function* harvestLocked(vm: Vm, slot: Memslot): Op<readonly DirtyWord[]> {
  const { bitmap } = slot;
  for (let word = 0; word < bitmap.words; word++) bitmap.writeScratch(word, EVERYTHING);
  yield* takeAndProtect(vm, slot, 0, bitmap.words);
  return Array.from({ length: bitmap.words }, (_, word) => bitmap.readScratch(word));
}

/** Takes from `words` live words the bits that the scratch words name, and leaves there what it took. */
function* takeAndProtect(vm: Vm, slot: Memslot, first: number, words: number): Op<void> {
  const { mmuLock, mmu } = vm.parts;
  const { bitmap } = slot;
  let isFlushDue = false;
  yield* mmuLock.lock();
  for (let word = first; word < first + words; word++) {
    const taken = yield* bitmap.fetchAndClear(word, bitmap.readScratch(word));
    bitmap.writeScratch(word, taken);
    if (isClean(taken)) continue;
    isFlushDue = true;
    yield* protectLocked(vm, slot, word, taken);
  }
  yield* mmuLock.unlock();
  if (isFlushDue) yield* mmu.tlbFlushVmid();
}

/** From the lowest to the highest page of a word: pages in between that are clean, or stay dirty, fault once more than they need to. */
function* protectLocked(vm: Vm, slot: Memslot, word: number, taken: DirtyWord): Op<void> {
  const { first, last } = span(taken);
  const ipa = slot.ipa + (word * WORD_PAGES + first) * slot.pageBytes;
  const bytes = (last - first + 1) * slot.pageBytes;
  yield* applyRangeLocked(vm, { ipa, bytes }, 'wrprotect', 'holding');
  // Where all bits are set from the start, this is the first time that anything is done to the slot's blocks.
  if (vm.parts.dirtyLogMode === 'clearAllSet')
    yield* vm.parts.splitter.splitLocked(vm, { ipa, bytes });
}

function* copyOf(slot: Memslot): Op<readonly DirtyWord[]> {
  const log: DirtyWord[] = [];
  for (let word = 0; word < slot.bitmap.words; word++) log.push(yield* slot.bitmap.load(word));
  return log;
}

function* loggingSlotLocked(vm: Vm, id: number): Op<Memslot | DirtyLogError> {
  const { memslots } = vm.parts;
  if (!memslots.hasId(id)) return 'invalid';
  const slot = yield* memslots.byIdLocked(id);
  return slot !== undefined && slot.hasBitmap ? slot : 'noEntry';
}
