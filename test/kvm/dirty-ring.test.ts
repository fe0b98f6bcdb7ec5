/** Dirty rings: whose an entry is, when a vCPU has to stop, what a reset protects, and that no write is lost. */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { DirtyRing, type DirtyEntry } from '../../src/kvm/dirty-ring.ts';
import { resetDirtyRings } from '../../src/kvm/dirty-ring-reset.ts';
import { setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import { dirtyRingsOf } from '../../src/workers/dirty-rings.ts';
import { writePages, type WriteNote } from '../support/writer.ts';
import { Guest, Lab, PAGE, RAM, only } from '../support/lab.ts';
import { mappedPages } from '../support/vm-of.ts';

const PAGES = 200;
const SIZE = 8;
/** A quarter is kept free. */
const SOFT_LIMIT = 6;

const labOf = (dirtyRing = SIZE): Lab =>
  new Lab({ slots: [{ base: RAM, bytes: PAGES * PAGE, logging: true }], frames: 40, dirtyRing });

const ringOf = (lab: Lab, vcpu = 0): DirtyRing => dirtyRingsOf(lab.world.layout)[vcpu] as DirtyRing;
const entry = (offset: number): DirtyEntry => ({ slot: 0, offset });

function writable(lab: Lab): number[] {
  return mappedPages(lab, RAM, PAGES).filter((page) =>
    lab
      .path(RAM + page * PAGE)
      .at(-1)
      ?.value.isWritable(),
  );
}

/** A lab whose first vCPU wrote these pages. */
function written(pages: readonly number[]): Lab {
  const lab = labOf(64);
  const guest = new Guest(lab, 0, ringOf(lab));
  for (const page of pages) drive(guest.touch(RAM + page * PAGE, 'write'));
  return lab;
}

describe('a ring', () => {
  test('gives entries in order, once, and has them back in order, those that were taken', () => {
    const ring = ringOf(labOf());
    for (const offset of [7, 3]) drive(ring.push(entry(offset)));
    expect(drive(ring.collect())).toEqual([entry(7), entry(3)]);
    drive(ring.push(entry(5)));
    expect(ring.pending()).toEqual([entry(7), entry(3), entry(5)]);
    expect([drive(ring.take()), drive(ring.take()), drive(ring.take())]).toEqual([
      entry(7),
      entry(3),
      null,
    ]);
    expect([drive(ring.collect()), drive(ring.collect())]).toEqual([[entry(5)], []]);
  });

  test('goes round', () => {
    const ring = ringOf(labOf());
    for (let i = 0; i < 5 * SIZE; i++) {
      drive(ring.push(entry(i)));
      expect(drive(ring.collect())).toEqual([entry(i)]);
      expect(drive(ring.take())).toEqual(entry(i));
    }
    expect(ring.pending()).toEqual([]);
  });

  test('is full before it is: what is harvested counts until it is reset', () => {
    const ring = ringOf(labOf());
    for (let i = 0; i < SOFT_LIMIT; i++) {
      expect(drive(ring.isSoftFull())).toBe(false);
      drive(ring.push(entry(i)));
    }
    drive(ring.collect());
    expect(drive(ring.isSoftFull())).toBe(true);
    drive(ring.take());
    expect(drive(ring.isSoftFull())).toBe(false);
  });

  test('does not run over', () => {
    const ring = ringOf(labOf());
    for (let i = 0; i < SIZE; i++) drive(ring.push(entry(i)));
    expect(() => drive(ring.push(entry(0)))).toThrow('a dirty ring runs over');
  });

  test.each([0, 1, 3, 12])('of %i entries is none', (size) => {
    const at = { entries: 0, dirtyIndex: 0, resetIndex: 0, fetchIndex: 0 };
    expect(() => new DirtyRing({ ...at, size })).toThrow('not a power of two');
  });

  test('of 1,024 entries keeps 64 free', () => {
    const ring = ringOf(labOf(1024));
    for (let i = 0; i < 960; i++) {
      expect(drive(ring.isSoftFull())).toBe(false);
      drive(ring.push(entry(i)));
    }
    expect(drive(ring.isSoftFull())).toBe(true);
  });
});

test('a write is an entry of the vCPU that made it; without a ring its bit is set', () => {
  const lab = labOf();
  const guest = new Guest(lab, 0, ringOf(lab));
  const other = new Guest(lab, 1);
  drive(guest.touch(RAM + 5 * PAGE, 'read'));
  expect(ringOf(lab).pending()).toEqual([]);
  drive(guest.touch(RAM + 5 * PAGE, 'write'));
  drive(other.touch(RAM + 9 * PAGE, 'write'));
  expect([ringOf(lab).pending(), ringOf(lab, 1).pending()]).toEqual([[entry(5)], []]);
  expect([lab.slot.isDirty(5), lab.slot.isDirty(9)]).toEqual([false, true]);
});

describe('a reset', () => {
  test('protects the pages of harvested entries and flushes once, after that', () => {
    const lab = written([3, 5, 190]);
    drive(ringOf(lab).collect());
    drive(new Guest(lab, 0, ringOf(lab)).touch(RAM + 7 * PAGE, 'write'));
    const { vm } = lab.view();
    let count = 0;
    const events = lab.run(new Scripted([]), [
      function* run(): Op<void> {
        count = yield* resetDirtyRings(vm, dirtyRingsOf(lab.world.layout));
      },
    ]);
    expect([count, writable(lab), ringOf(lab).pending()]).toEqual([3, [7], [entry(7)]]);
    const order = events.flatMap(({ kind, at }) => {
      if (kind === EventKind.walkBegin) return ['protect'];
      if (kind === EventKind.tlbi) return [at === TlbiKind.vmid ? 'flush' : 'TLBI'];
      return kind === EventKind.dsbComplete ? ['complete'] : [];
    });
    // Neighbours together, in either order, and the one far away alone.
    expect(order).toEqual(['protect', 'protect', 'flush', 'complete']);
  });

  test.each([
    [[10, 73], 1],
    [[73, 10], 1],
    [[10, 74], 2],
    [[74, 10], 2],
    [[10, 40, 11], 1],
  ])('of pages %j walks %i times', (pages, walks) => {
    const lab = written(pages);
    drive(ringOf(lab).collect());
    const { vm } = lab.view();
    const events = lab.run(new Scripted([]), [() => resetDirtyRings(vm, [ringOf(lab)])]);
    expect([only(events, EventKind.walkBegin).length, writable(lab)]).toEqual([walks, []]);
  });

  test('of nothing harvested does nothing', () => {
    const lab = written([3]);
    const { vm } = lab.view();
    const events = lab.run(new Scripted([]), [() => resetDirtyRings(vm, [ringOf(lab)])]);
    expect([only(events, EventKind.tlbi), writable(lab)]).toEqual([[], [3]]);
  });

  test('of a slot that is gone frees the entries', () => {
    const lab = written([3]);
    drive(ringOf(lab).collect());
    const { vm } = lab.world;
    const { id, ipa, hva } = lab.slot;
    drive(setMemoryRegion(vm, { id, ipa, hva, bytes: 0, flags: 0 }));
    expect([drive(resetDirtyRings(vm, [ringOf(lab)])), ringOf(lab).pending()]).toEqual([1, []]);
  });
});

test('a vCPU whose ring is full does not enter, and says why', () => {
  const lab = labOf();
  const { vcpu } = new Guest(lab, 0, ringOf(lab));
  for (let i = 0; i < SOFT_LIMIT; i++) drive(ringOf(lab).push(entry(i)));
  expect([drive(vcpu.mayEnter()), vcpu.exit]).toEqual([false, { reason: 'dirtyRingFull' }]);
});

/** What happened, in the order of the execution: a write inside its access window, pages that user space copies. */
type Note = WriteNote | { readonly what: 'copy'; readonly pages: readonly number[] };

test('40 schedules of two writers with rings of two: every write is copied later, or an entry stands', () => {
  const lab = labOf(2);
  lab.shared.explore.baseline();
  let waits = 0;
  for (let seed = 0; seed < 40; seed++) {
    lab.shared.explore.restore();
    const notes: Note[] = [];
    const guests = [0, 1].map((id) => new Guest(lab, id, ringOf(lab, id)));
    const { vm } = lab.view();
    const working = new Set(guests);
    lab.runWith(new RandomScheduler(seed), [
      ...guests.map(
        (guest) =>
          function* run(): Op<void> {
            yield* writePages(guest, [0, 1, 2, 3, 1, 0, 2], notes);
            working.delete(guest);
          },
      ),
      function* collect(): Op<void> {
        const rings = dirtyRingsOf(lab.world.layout);
        while (working.size > 0) {
          const pages: number[] = [];
          for (const ring of rings)
            pages.push(...(yield* ring.collect()).map(({ offset }) => offset));
          yield* resetDirtyRings(vm, rings);
          notes.push({ what: 'copy', pages });
        }
      },
    ]);
    waits += guests.filter(({ vcpu }) => vcpu.exit !== null).length;
    const entries = [0, 1].flatMap((id) => ringOf(lab, id).pending());
    const pending = new Set(entries.map(({ offset }) => offset));
    const lost = notes.filter(
      (note, i) =>
        note.what === 'write' &&
        !pending.has(note.page) &&
        !notes.slice(i).some((later) => later.what === 'copy' && later.pages.includes(note.page)),
    );
    expect([seed, lost]).toEqual([seed, []]);
  }
  expect(waits).toBeGreaterThan(20);
});
