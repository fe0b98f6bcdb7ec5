/** Harvesting a dirty log (specification 5J): what a call returns, clears and protects, in which order, and that no write is lost. */
import { drive } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import type { DirtyWord } from '../../src/kvm/dirty-bitmap.ts';
import {
  clearDirtyLog,
  getDirtyLog,
  type ClearRequest,
  type DirtyLogError,
  type DirtyLogMode,
} from '../../src/kvm/dirty-log.ts';
import { setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { SlotFlag } from '../../src/kvm/memslots.ts';
import type { Vm } from '../../src/kvm/vm.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import { writePages, type WriteNote } from '../support/writer.ts';
import { Guest, Lab, only, PAGE, RAM } from '../support/lab.ts';
import { spareRegion, vmOf } from '../support/vm-of.ts';

const PAGES = 150;
const LOGGING = { slots: [{ base: RAM, bytes: PAGES * PAGE, logging: true }] };
const EVERYTHING: readonly DirtyWord[] = [1, 2, 3].map(() => ({ lo: -1, hi: -1 }));

/** Numbers of the pages whose bits a log has. */
function pagesIn(log: readonly DirtyWord[] | DirtyLogError): number[] {
  if (typeof log === 'string') throw new Error(log);
  return log.flatMap(({ lo, hi }, word) =>
    Array.from({ length: 64 }, (_, bit) => bit)
      .filter((bit) => (((bit < 32 ? lo : hi) >>> (bit % 32)) & 1) === 1)
      .map((bit) => word * 64 + bit),
  );
}

function written(pages: readonly number[]): { lab: Lab; guest: Guest } {
  const lab = new Lab({ ...LOGGING, frames: 200 });
  const guest = new Guest(lab, 0);
  for (const page of pages) drive(guest.touch(RAM + page * PAGE, 'write'));
  return { lab, guest };
}

/** Pages that the table lets the guest write. */
function writable(lab: Lab): number[] {
  return Array.from({ length: PAGES }, (_, page) => page).filter((page) => {
    const leaf = lab.path(RAM + page * PAGE).at(-1)?.value;
    return leaf?.isValid() === true && leaf.isWritable();
  });
}

function dirty(lab: Lab): number[] {
  return Array.from({ length: PAGES }, (_, page) => page).filter((page) => lab.slot.isDirty(page));
}

describe('a harvest', () => {
  test('returns the dirty pages once, and takes W from the lowest to the highest of each word', () => {
    const { lab } = written([3, 5, 9, 63, 64, 127, 149]);
    const { vm } = lab.world;
    expect(pagesIn(drive(getDirtyLog(vm, 0)))).toEqual([3, 5, 9, 63, 64, 127, 149]);
    expect([writable(lab), dirty(lab)]).toEqual([[], []]);
    expect(pagesIn(drive(getDirtyLog(vm, 0)))).toEqual([]);
  });

  test('takes the bits of a word, protects their span, and flushes once, after the lock', () => {
    const { lab } = written([3, 9, 70]);
    const { vm } = lab.view();
    const { locks, memslots } = lab.world.layout;
    const bitmap = memslots.bitmaps[0]?.at;
    const events = lab.run(new Scripted([]), [() => getDirtyLog(vm, 0)]);
    const order = events.flatMap(({ kind, at }) => {
      if (kind === EventKind.cas64) return [`take ${(at - (bitmap ?? 0)) / 8}`];
      if (kind === EventKind.walkBegin) return ['protect'];
      if (kind === EventKind.lockAcquired && at === locks.mmu_lock) return ['lock'];
      if (kind === EventKind.lockReleased && at === locks.mmu_lock) return ['unlock'];
      if (kind === EventKind.tlbi) return [at === TlbiKind.vmid ? 'flush' : 'TLBI'];
      return kind === EventKind.dsbComplete ? ['complete'] : [];
    });
    const words = ['take 0', 'protect', 'take 1', 'protect'];
    expect(order).toEqual(['lock', ...words, 'unlock', 'flush', 'complete']);
    expect(lab.entryStores(events)).toHaveLength(3);
  });

  test('of a clean slot walks nothing and flushes nothing', () => {
    const { lab } = written([]);
    const { vm } = lab.view();
    const events = lab.run(new Scripted([]), [() => getDirtyLog(vm, 0)]);
    expect([only(events, EventKind.walkBegin), only(events, EventKind.tlbi)]).toEqual([[], []]);
  });

  test.each([
    [1, 'noEntry'],
    [4, 'noEntry'],
    [5, 'invalid'],
    [-1, 'invalid'],
  ])('of slot %i: %s', (id, outcome) => {
    const { lab } = written([]);
    drive(setMemoryRegion(lab.world.vm, spareRegion(lab, {})));
    expect(drive(getDirtyLog(lab.world.vm, id))).toBe(outcome);
    const request = { id, firstPage: 0, pages: 64, mask: EVERYTHING };
    expect(drive(clearDirtyLog(lab.world.vm, request))).toBe(outcome);
  });

  test('of a read-only slot with a bitmap is there, and empty', () => {
    const { lab } = written([]);
    const flags = SlotFlag.logDirty | SlotFlag.readonly;
    drive(setMemoryRegion(lab.world.vm, spareRegion(lab, { flags })));
    expect(pagesIn(drive(getDirtyLog(lab.world.vm, 1)))).toEqual([]);
  });
});

const manual = (lab: Lab, dirtyLogMode: DirtyLogMode = 'clear'): Vm =>
  vmOf(lab.view(), { dirtyLogMode });

describe('with manual protection', () => {
  test('getting the log changes nothing', () => {
    const { lab } = written([3, 70]);
    const vm = manual(lab);
    const events = lab.run(new Scripted([]), [() => getDirtyLog(vm, 0)]);
    expect([lab.entryStores(events), only(events, EventKind.tlbi)]).toEqual([[], []]);
    for (let turn = 0; turn < 2; turn++)
      expect(pagesIn(drive(getDirtyLog(vm, 0)))).toEqual([3, 70]);
    expect(writable(lab)).toEqual([3, 70]);
  });

  test('clearing clears and protects what the mask names, from its first page on', () => {
    const { lab } = written([3, 9, 64, 70, 149]);
    const vm = manual(lab);
    const mask = [{ lo: (1 << 6) | (1 << 7), hi: 0 }];
    expect(drive(clearDirtyLog(vm, { id: 0, firstPage: 64, pages: 64, mask }))).toBe('ok');
    // Page 71 was clean: only page 70 is taken.
    expect([dirty(lab), writable(lab)]).toEqual([
      [3, 9, 64, 149],
      [3, 9, 64, 149],
    ]);
  });

  test('a dirty page between two cleared ones loses W and keeps its bit', () => {
    const { lab } = written([3, 5, 9]);
    const mask = [{ lo: (1 << 3) | (1 << 9), hi: 0 }];
    drive(clearDirtyLog(manual(lab), { id: 0, firstPage: 0, pages: 64, mask }));
    expect([dirty(lab), writable(lab)]).toEqual([[5], []]);
  });

  test('clearing what is clean flushes nothing', () => {
    const { lab } = written([3]);
    const vm = manual(lab);
    const request = { id: 0, firstPage: 64, pages: 86, mask: EVERYTHING };
    const events = lab.run(new Scripted([]), [() => clearDirtyLog(vm, request)]);
    expect([only(events, EventKind.tlbi), dirty(lab)]).toEqual([[], [3]]);
  });

  test.each<readonly [string, Partial<ClearRequest>, string]>([
    ['all pages', { firstPage: 0, pages: PAGES }, 'ok'],
    ['the tail', { firstPage: 128, pages: 22 }, 'ok'],
    ['nothing', { firstPage: 64, pages: 0 }, 'ok'],
    ['a first page inside a word', { firstPage: 32, pages: 64 }, 'invalid'],
    ['pages inside a word', { firstPage: 0, pages: 32 }, 'invalid'],
    ['pages beyond the end', { firstPage: 128, pages: 23 }, 'invalid'],
    ['a first page beyond the end', { firstPage: 192, pages: 0 }, 'invalid'],
    ['a word beyond the end', { firstPage: 128, pages: 64 }, 'invalid'],
  ])('a request for %s', (_, request, outcome) => {
    const { lab } = written([3, 149]);
    const vm = manual(lab);
    const whole = { id: 0, firstPage: 0, pages: 64, mask: EVERYTHING, ...request };
    expect(drive(clearDirtyLog(vm, whole))).toBe(outcome);
    const { firstPage, pages } = whole;
    const isCleared = (page: number): boolean =>
      outcome === 'ok' && page >= firstPage && page < firstPage + pages;
    expect(dirty(lab)).toEqual([3, 149].filter((page) => !isCleared(page)));
  });

  test('initially set: all bits, no write-protection; that comes with the first clear', () => {
    const lab = new Lab({ frames: 200, slots: [{ ...LOGGING.slots[0], logging: false } as never] });
    drive(new Guest(lab, 0).touch(RAM + 3 * PAGE, 'write'));
    const vm = manual(lab, 'clearAllSet');
    const { id, ipa, hva, bytes } = lab.slot;
    const region = { id, ipa, hva, bytes, flags: SlotFlag.logDirty };
    const events = lab.run(new Scripted([]), [() => setMemoryRegion(vm, region)]);
    expect([lab.entryStores(events), only(events, EventKind.tlbi)]).toEqual([[], []]);
    expect([dirty(lab).length, writable(lab)]).toEqual([PAGES, [3]]);
    drive(clearDirtyLog(vm, { id, firstPage: 0, pages: PAGES, mask: EVERYTHING }));
    expect([dirty(lab), writable(lab)]).toEqual([[], []]);
  });
});

/** What happened, in the order of the execution: a write inside its access window, a report when the call has returned. */
type Note = WriteNote | { readonly what: 'report'; readonly pages: readonly number[] };

/** Writes that neither a later report nor the bitmap has. */
function lost(lab: Lab, notes: readonly Note[]): Note[] {
  return notes.filter((note, i) => {
    if (note.what === 'report') return false;
    const isReported = notes
      .slice(i)
      .some((later) => later.what === 'report' && later.pages.includes(note.page));
    return !isReported && !lab.slot.isDirty(note.page);
  });
}

test.each(['harvest', 'clear'] as const)(
  'mode %s, 300 schedules of two writers: every write is reported later, or its bit stands',
  (dirtyLogMode) => {
    const lab = new Lab(LOGGING);
    for (const page of [0, 1, 2]) drive(new Guest(lab, 0).touch(RAM + page * PAGE, 'write'));
    lab.shared.explore.baseline();
    let between = 0;
    for (let seed = 0; seed < 300; seed++) {
      lab.shared.explore.restore();
      const notes: Note[] = [];
      const vm = vmOf(lab.view(), { dirtyLogMode });
      const guests = [new Guest(lab, 0), new Guest(lab, 1)];
      lab.runWith(new RandomScheduler(seed), [
        ...guests.map((guest) => () => writePages(guest, [0, 1, 2, 1, 0, 2, 0, 1], notes)),
        function* harvest() {
          for (let round = 0; round < 3; round++) {
            const log = yield* getDirtyLog(vm, 0);
            if (dirtyLogMode === 'clear' && typeof log !== 'string')
              yield* clearDirtyLog(vm, { id: 0, firstPage: 0, pages: 64, mask: log });
            // User space copies the pages now.
            notes.push({ what: 'report', pages: pagesIn(log) });
          }
        },
      ]);
      expect([seed, lost(lab, notes)]).toEqual([seed, []]);
      const first = notes.findIndex(({ what }) => what === 'report');
      if (notes.slice(first).some(({ what }) => what === 'write')) between++;
    }
    expect(between).toBeGreaterThan(200);
  },
  60_000,
);
