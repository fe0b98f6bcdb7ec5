/**
 * Ageing: whether pages were used, by the process (young bits of its entries, marks on frames) or by the guest (the subscriber). The
 * subscriber is asked under the page-table lock, for exactly what one entry maps. Pages off the LRU and hugetlb pages do not age.
 */
import type { Op } from '#port';
import type { Hva } from '../../machine/address.ts';
import { HostFlag, HostState, flagsOf, isYoung, numberOf, stateOf, withFlags } from './host-pte.ts';
import type { HostEntry } from './host-table.ts';
import type { Mm } from './mm.ts';
import { PageFlag } from './pages.ts';

/** How one scan asks. */
interface Question {
  ask(mm: Mm, entry: HostEntry): Op<boolean>;
  readonly clears: boolean;
}

/** page_referenced: also no TLB may hide the next access. */
const CLEAR_FLUSH: Question = {
  clears: true,
  *ask(mm, entry) {
    return yield* mm.notifier.clearFlushYoung(mm.table.rangeOf(entry));
  },
};

/** Idle page tracking: cheap, accesses by old TLB entries may be missed. */
const CLEAR: Question = {
  clears: true,
  *ask(mm, entry) {
    return yield* mm.notifier.clearYoung(mm.table.rangeOf(entry));
  },
};

const TEST: Question = {
  clears: false,
  *ask(mm, entry) {
    return yield* mm.notifier.testYoung(entry.hva);
  },
};

/** Whether the page of `hva` was used since the last such scan, TLBs flushed; forgets it. False for a page that does not age. */
export function* clearFlushYoungPage(mm: Mm, hva: Hva): Op<boolean> {
  return yield* scan(mm, hva, CLEAR_FLUSH);
}

/** The same without flushing TLBs. */
export function* clearYoungPage(mm: Mm, hva: Hva): Op<boolean> {
  return yield* scan(mm, hva, CLEAR);
}

/** Whether the page was used; forgets nothing. */
export function* testYoungPage(mm: Mm, hva: Hva): Op<boolean> {
  return yield* scan(mm, hva, TEST);
}

/** The question of reclaim: entry, subscriber, and the mark that KVM left on the frame. */
export function* clearReferenced(mm: Mm, hva: Hva): Op<boolean> {
  const { table, pages } = mm;
  yield* table.lock.lock();
  const entry = table.find(hva);
  let young = false;
  if (yield* agesLocked(mm, entry)) {
    const frame = pages.frameOf(table.numberAt(entry, hva));
    young = yield* pages.clear(frame, PageFlag.accessed);
    if (yield* askLocked(mm, entry, CLEAR_FLUSH)) young = true;
  }
  yield* table.lock.unlock();
  return young;
}

function* scan(mm: Mm, hva: Hva, question: Question): Op<boolean> {
  yield* mm.table.lock.lock();
  const entry = mm.table.find(hva);
  const young = (yield* agesLocked(mm, entry)) && (yield* askLocked(mm, entry, question));
  yield* mm.table.lock.unlock();
  return young;
}

function* agesLocked(mm: Mm, entry: HostEntry): Op<boolean> {
  if (stateOf(entry.pte) !== HostState.page) return false;
  if (mm.vmas.covering(entry.hva)?.kind === 'hugetlb') return false;
  return !(yield* mm.pages.has(mm.pages.frameOf(numberOf(entry.pte)), PageFlag.offLru));
}

/** Both are asked in any case: each has to forget. */
function* askLocked(mm: Mm, entry: HostEntry, question: Question): Op<boolean> {
  const { pte, level, hva } = entry;
  if (question.clears && isYoung(pte))
    yield* mm.table.setLocked(hva, level, withFlags(pte, flagsOf(pte) & ~HostFlag.young));
  const isSecondary = yield* question.ask(mm, entry);
  return isSecondary || isYoung(pte);
}
