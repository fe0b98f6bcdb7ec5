/** What the host does to pages that KVM maps: each operation, what it announces and when, and that contents survive it. */
import { drive, read32 } from '#port';
import { describe, expect, test } from 'vitest';
import { clearFlushYoungPage, clearYoungPage, testYoungPage } from '../../../src/kvm/host/age.ts';
import { exitMm, mapArea, protectArea, unmapArea } from '../../../src/kvm/host/areas.ts';
import { collapseBlock } from '../../../src/kvm/host/collapse.ts';
import { discardRange, writeProtectRange } from '../../../src/kvm/host/discard.ts';
import { mergePages } from '../../../src/kvm/host/merge.ts';
import { migratePage } from '../../../src/kvm/host/migrate.ts';
import { beginMove, endMove } from '../../../src/kvm/host/move.ts';
import { poisonPage } from '../../../src/kvm/host/poison.ts';
import { reclaimPage } from '../../../src/kvm/host/reclaim.ts';
import { splitBlock } from '../../../src/kvm/host/split.ts';
import { Geometry } from '../../../src/machine/geometry.ts';
import { POISON } from '../../../src/machine/frames.ts';
import { HostLab, area } from './host-lab.ts';

const PAGE = 4096;
const MIB = 2 ** 20;

const anonymous = (): HostLab => new HostLab([area('anonymous', 0, 8 * PAGE)]);
const huge = (): HostLab => new HostLab([area('transparentHuge', 0, 4 * MIB)], { frames: 1600 });

describe('discard', () => {
  test('empties between start and end, poisons, and the frame is used again at once', () => {
    const lab = anonymous();
    lab.write(1, 11);
    lab.write(2, 22);
    expect(drive(discardRange(lab.mm, lab.range(0, 4)))).toBe('done');
    expect(lab.calls()).toEqual(['start 0+4: none', 'end 0+4: none']);
    expect([lab.entry(1), lab.count(0), lab.owner(0)]).toEqual(['none', 0, 0]);
    expect(read32(lab.mm.pages.frames.wordOf(lab.frame(0)))).toBe(POISON);
    // The last one freed comes first.
    expect([lab.touch(5, true), lab.touch(6, true)]).toEqual([1, 0]);
    expect(lab.wrong()).toEqual([]);
  });

  test('a frame that is pinned lives on, owned by nobody', () => {
    const lab = anonymous();
    const { frame } = lab.pin(1, true);
    drive(discardRange(lab.mm, lab.range(1, 1)));
    expect([lab.count(0), lab.owner(0)]).toEqual([1, 0]);
    drive(lab.host.unpin(frame));
    expect(lab.wrong()).toEqual([]);
  });

  test('the reaper does not block; a range across areas, hugetlb and devices are refused', () => {
    const lab = new HostLab(
      [
        area('anonymous', 0, 4 * PAGE),
        area('anonymous', 4 * PAGE, 4 * PAGE),
        area('pfnmap', 8 * PAGE, PAGE),
        area('hugetlb', 16 * PAGE, 16 * PAGE, { hugeBytes: 16 * PAGE }),
      ],
      { frames: 32 },
    );
    lab.touch(16, true);
    drive(discardRange(lab.mm, lab.range(0, 1), false));
    expect(lab.calls()).toEqual(['start nonblocking 0+1: none', 'end 0+1: none']);
    for (const range of [lab.range(3, 2), lab.range(8, 1), lab.range(16, 16), lab.range(40, 1)])
      expect(drive(discardRange(lab.mm, range))).toBe('invalid');
    expect([lab.calls(), lab.entry(16)]).toEqual([[], 'page 0 W young']);
  });

  test('a part of a huge page is split off first', () => {
    const lab = huge();
    lab.write(0, 1);
    lab.write(512, 2);
    lab.write(100, 3);
    drive(discardRange(lab.mm, lab.range(10, 510)));
    expect(lab.calls()).toEqual([
      'start 10+510: page 10 W young level 2',
      'start 0+512: page 0 W young level 2',
      'end 0+512: page 0 W young',
      'start 512+512: page 512 W young level 2',
      'end 512+512: page 512 W young',
      'end 10+510: none',
    ]);
    expect([lab.read(0), lab.read(100), lab.entry(9), lab.entry(519), lab.entry(520)]).toEqual([
      1,
      0,
      'page 9 W young',
      'none',
      'page 520 W young',
    ]);
    expect(lab.wrong()).toEqual([]);
  });

  test('so is one that is write-protected in part', () => {
    const lab = huge();
    lab.write(0, 1);
    drive(writeProtectRange(lab.mm, lab.range(2, 2)));
    expect(lab.calls()).toEqual([
      'start 2+2: page 2 W young level 2',
      'start 0+512: page 0 W young level 2',
      'end 0+512: page 0 W young',
      'end 2+2: page 2 young',
    ]);
    expect([1, 2, 3, 4].map((page) => lab.entry(page))).toEqual([
      'page 1 W young',
      'page 2 young',
      'page 3 young',
      'page 4 W young',
    ]);
  });

  test('of shared memory only the mapping goes', () => {
    const lab = new HostLab([area('shared', 0, 2 * PAGE)]);
    lab.write(1, 9);
    drive(discardRange(lab.mm, lab.range(0, 2)));
    expect([lab.entry(1), lab.count(0), lab.owner(0)]).toEqual(['none', 1, -5]);
    lab.touch(1, false);
    expect(lab.read(1)).toBe(9);
    expect(lab.wrong()).toEqual([]);
  });
});

describe('areas', () => {
  test('unmap forgets the area first, then announces; map brings it back empty', () => {
    const lab = anonymous();
    lab.write(1, 11);
    expect(drive(unmapArea(lab.mm, lab.hva(3)))).toBe('done');
    expect(lab.calls()).toEqual(['start 0+8: none', 'end 0+8: none']);
    expect([lab.pin(1, false).status, drive(unmapArea(lab.mm, lab.hva(3)))]).toEqual([
      'fault',
      'invalid',
    ]);
    expect([drive(mapArea(lab.mm, lab.hva(3))), drive(mapArea(lab.mm, lab.hva(3)))]).toEqual([
      'done',
      'invalid',
    ]);
    lab.touch(1, false);
    expect(lab.read(1)).toBe(0);
    expect(lab.wrong()).toEqual([]);
  });

  test('mprotect takes W inside a bracket; after it is given back the next write takes it in place', () => {
    const lab = anonymous();
    lab.write(1, 11);
    drive(protectArea(lab.mm, lab.hva(0), false));
    expect(lab.calls()).toEqual(['start 0+8: none', 'end 0+8: none']);
    expect([lab.entry(1), lab.pin(1, true).status]).toEqual(['page 0 young', 'fault']);
    drive(protectArea(lab.mm, lab.hva(0), true));
    expect(lab.entry(1)).toBe('page 0 young');
    expect(lab.touch(1, true)).toBe(0);
    expect([lab.entry(1), lab.calls()]).toEqual(['page 0 W young', []]);
  });

  test('exit: the subscriber first, then everything, unannounced', () => {
    const lab = new HostLab([
      area('anonymous', 0, 4 * PAGE),
      area('shared', 4 * PAGE, 2 * PAGE),
      area('shared', 6 * PAGE, 2 * PAGE),
    ]);
    for (const page of [0, 1, 4, 6, 7]) lab.write(page, page);
    expect(drive(reclaimTwice(lab, 1))).toBe('done');
    lab.calls();
    drive(exitMm(lab.mm));
    expect(lab.calls()).toEqual(['release']);
    expect(lab.mm.pages.frames.accounts()).toEqual({ used: 4, free: 4 });
    expect(lab.mm.swap.accounts()).toEqual({ used: 1, free: 1 });
    expect(lab.pin(0, false).status).toBe('fault');
    expect(lab.wrong()).toEqual([]);
  });
});

function* reclaimTwice(lab: HostLab, page: number) {
  const first = yield* reclaimPage(lab.mm, lab.hva(page));
  expect(first).toBe('young');
  return yield* reclaimPage(lab.mm, lab.hva(page));
}

describe('copy on write', () => {
  test('in place when nobody else has the page, on a copy when it is pinned', () => {
    const lab = anonymous();
    lab.write(1, 11);
    drive(writeProtectRange(lab.mm, lab.range(0, 2)));
    expect(lab.calls()).toEqual(['start 0+2: none', 'end 0+2: none']);
    const { frame } = lab.pin(1, false);
    expect(lab.touch(1, true)).toBe(1);
    expect(lab.calls()).toEqual([
      'start 1+1: page 0 young',
      'change to 1 1: none',
      'end 1+1: page 1 W young',
    ]);
    expect([lab.read(1), lab.owner(0), lab.owner(1), lab.count(0)]).toEqual([11, 0, 2, 1]);
    drive(lab.host.unpin(frame));
    expect(lab.wrong()).toEqual([]);
  });

  test('of a huge page: as a whole, or split', () => {
    const lab = huge();
    lab.write(3, 33);
    drive(writeProtectRange(lab.mm, lab.range(0, 512)));
    lab.calls();
    lab.write(4, 44);
    expect([lab.entry(3), lab.calls()]).toEqual(['page 3 W young level 2', []]);
    drive(writeProtectRange(lab.mm, lab.range(0, 512)));
    lab.calls();
    const { frame } = lab.pin(5, false);
    lab.write(4, 45);
    expect(lab.calls()).toEqual(['start 0+512: page 0 young level 2', 'end 0+512: page 0 young']);
    expect([lab.entry(3), lab.entry(4), lab.read(3), lab.read(4)]).toEqual([
      'page 3 young',
      'page 4 W young',
      33,
      45,
    ]);
    drive(lab.host.unpin(frame));
    expect(lab.wrong()).toEqual([]);
  });
});

describe('moving', () => {
  test('migration: unmapped between start and end, copied, mapped again as it was', () => {
    const lab = anonymous();
    lab.write(1, 11);
    expect(drive(migratePage(lab.mm, lab.hva(1)))).toBe('done');
    expect(lab.calls()).toEqual(['start 1+1: page 0 W young', 'end 1+1: migrating W young']);
    expect([lab.entry(1), lab.read(1), lab.owner(0), lab.owner(1)]).toEqual([
      'page 1 W young',
      11,
      0,
      2,
    ]);
    expect(lab.wrong()).toEqual([]);
  });

  test('a pinned, absent, zero, isolated or hugetlb page is not migrated', () => {
    const lab = new HostLab(
      [
        area('anonymous', 0, 4 * PAGE),
        area('hugetlb', 16 * PAGE, 16 * PAGE, { hugeBytes: 16 * PAGE }),
      ],
      { frames: 32 },
    );
    lab.touch(2, false);
    lab.touch(16, true);
    const { frame } = lab.pin(1, true);
    for (const page of [0, 1, 2, 16])
      expect(drive(migratePage(lab.mm, lab.hva(page)))).toBe('skipped');
    expect([lab.entry(1), lab.owner(lab.index(frame))]).toEqual(['page 15 W young', 2]);
    drive(lab.host.unpin(frame));
    const move = drive(beginMove(lab.mm, lab.hva(1)));
    expect(drive(migratePage(lab.mm, lab.hva(1)))).toBe('skipped');
    if (move !== null) drive(endMove(lab.mm, move));
    expect(drive(migratePage(lab.mm, lab.hva(1)))).toBe('done');
    expect(lab.wrong()).toEqual([]);
  });

  test('a shared page moves in every area', () => {
    const lab = new HostLab([area('shared', 0, 2 * PAGE), area('shared', 4 * PAGE, 2 * PAGE)]);
    lab.write(1, 5);
    lab.touch(5, false);
    expect(drive(migratePage(lab.mm, lab.hva(5)))).toBe('done');
    expect(lab.calls()).toEqual([
      'start 1+1: page 0 W young',
      'end 1+1: migrating W young',
      'start 5+1: page 0 W young',
      'end 5+1: migrating W young',
    ]);
    expect([lab.entry(1), lab.entry(5), lab.read(5), lab.owner(1)]).toEqual([
      'page 1 W young',
      'page 1 W young',
      5,
      -5,
    ]);
    expect(lab.wrong()).toEqual([]);
  });

  test('a page of a huge page: the block is split first', () => {
    const lab = huge();
    lab.write(3, 33);
    expect(drive(migratePage(lab.mm, lab.hva(3)))).toBe('done');
    expect([lab.entry(2), lab.entry(3), lab.read(3)]).toEqual([
      'page 2 W young',
      'page 512 W young',
      33,
    ]);
    expect(lab.wrong()).toEqual([]);
  });

  test('swap: a young page stays, an old one goes, and comes back with its contents', () => {
    const lab = anonymous();
    lab.write(1, 11);
    expect(drive(reclaimPage(lab.mm, lab.hva(1)))).toBe('young');
    expect(lab.calls()).toEqual(['clearFlushYoung 1+1: page 0 W']);
    lab.told.isYoung = true;
    expect(drive(reclaimPage(lab.mm, lab.hva(1)))).toBe('young');
    lab.told.isYoung = false;
    drive(lab.host.markAccessed(lab.frame(0)));
    expect(drive(reclaimPage(lab.mm, lab.hva(1)))).toBe('young');
    lab.calls();
    expect(drive(reclaimPage(lab.mm, lab.hva(1)))).toBe('done');
    expect(lab.calls()).toEqual([
      'clearFlushYoung 1+1: page 0 W',
      'start 1+1: page 0 W',
      'end 1+1: migrating W',
    ]);
    expect([lab.entry(1), lab.read(1), lab.count(0)]).toEqual(['swapped', 11, 0]);
    expect(lab.wrong()).toEqual([]);
    lab.write(2, 22);
    expect(lab.pin(1, false)).toMatchObject({ frame: lab.frame(1), isWritable: false });
    expect([lab.read(1), lab.entry(1)]).toEqual([11, 'page 1 young']);
    expect(lab.mm.swap.accounts()).toEqual({ used: 1, free: 1 });
  });

  test('a swapped page that is discarded gives its place back; a pinned page and a full swap keep pages', () => {
    const lab = new HostLab([area('anonymous', 0, 8 * PAGE)], { swapFrames: 1 });
    lab.write(1, 11);
    lab.write(2, 22);
    const { frame } = lab.pin(2, true);
    for (const page of [1, 2]) drive(reclaimPage(lab.mm, lab.hva(page)));
    expect(drive(reclaimPage(lab.mm, lab.hva(2)))).toBe('skipped');
    drive(lab.host.unpin(frame));
    expect(drive(reclaimPage(lab.mm, lab.hva(1)))).toBe('done');
    expect(drive(reclaimPage(lab.mm, lab.hva(2)))).toBe('noMemory');
    expect([lab.read(2), lab.owner(1)]).toEqual([22, 3]);
    drive(discardRange(lab.mm, lab.range(1, 1)));
    expect(drive(reclaimPage(lab.mm, lab.hva(2)))).toBe('done');
    expect(lab.wrong()).toEqual([]);
  });

  test('poison: every access finds it, the frame is never used again', () => {
    const lab = new HostLab([
      area('anonymous', 0, 2 * PAGE),
      area('shared', 2 * PAGE, PAGE),
      area('shared', 3 * PAGE, PAGE),
    ]);
    for (const page of [1, 2, 3]) lab.write(page, page);
    expect(drive(poisonPage(lab.mm, lab.hva(1)))).toBe('done');
    expect(lab.calls()).toEqual(['start 1+1: page 0 W young', 'end 1+1: migrating W young']);
    drive(discardRange(lab.mm, lab.range(3, 1)));
    drive(poisonPage(lab.mm, lab.hva(2)));
    expect([1, 2, 3].map((page) => lab.pin(page, false).status)).toEqual([
      'poisoned',
      'poisoned',
      'poisoned',
    ]);
    expect(drive(poisonPage(lab.mm, lab.hva(1)))).toBe('skipped');
    drive(discardRange(lab.mm, lab.range(1, 1)));
    expect(lab.touch(1, true)).toBe(2);
    expect(lab.wrong()).toEqual([]);
  });
});

describe('huge pages', () => {
  test('split: announced for the block, the same frames and contents', () => {
    const lab = huge();
    lab.write(3, 33);
    expect(drive(splitBlock(lab.mm, lab.hva(3)))).toBe(true);
    expect(lab.calls()).toEqual([
      'start 0+512: page 0 W young level 2',
      'end 0+512: page 0 W young',
    ]);
    expect([lab.entry(511), lab.read(3)]).toEqual(['page 511 W young', 33]);
    expect(drive(splitBlock(lab.mm, lab.hva(3)))).toBe(false);
    expect(lab.wrong()).toEqual([]);
  });

  test('collapse: the pages are gone before the end, the block appears after it', () => {
    const lab = huge();
    lab.touch(1, false);
    lab.write(3, 33);
    lab.write(511, 51);
    drive(discardRange(lab.mm, lab.range(0, 1)));
    lab.calls();
    expect(drive(collapseBlock(lab.mm, lab.hva(7)))).toBe('done');
    expect(lab.calls()).toEqual(['start 0+512: none', 'end 0+512: none']);
    expect([lab.entry(0), lab.read(3), lab.read(511), lab.read(2)]).toEqual([
      'page 1024 W young level 2',
      33,
      51,
      0,
    ]);
    expect(lab.wrong()).toEqual([]);
  });

  test.each([14, 16])('granule 2^%d: split and collapsed by its own sizes', (shift) => {
    const geometry = new Geometry(shift);
    const block = geometry.sizeOf(2);
    const vma = area('transparentHuge', 0, block, { hugeBytes: geometry.pageBytes });
    const lab = new HostLab([vma], { geometry, frames: 2 * geometry.entries });
    const last = geometry.entries - 1;
    lab.write(last, 7);
    expect(lab.entry(last)).toBe(`page ${last} W young level 2`);
    drive(splitBlock(lab.mm, lab.hva(0)));
    expect(lab.entry(last)).toBe(`page ${last} W young`);
    expect(drive(collapseBlock(lab.mm, lab.hva(9)))).toBe('done');
    expect([lab.entry(last), lab.read(last)]).toEqual([
      `page ${geometry.entries + last} W young level 2`,
      7,
    ]);
    expect(lab.wrong()).toEqual([]);
  });

  test('nothing to collapse, or something in the way: everything stays as it was', () => {
    const lab = huge();
    expect(drive(collapseBlock(lab.mm, lab.hva(0)))).toBe('skipped');
    lab.write(3, 33);
    expect(drive(collapseBlock(lab.mm, lab.hva(0)))).toBe('skipped');
    drive(splitBlock(lab.mm, lab.hva(3)));
    const { frame } = lab.pin(4, false);
    expect(drive(collapseBlock(lab.mm, lab.hva(0)))).toBe('skipped');
    expect([lab.entry(3), lab.read(3)]).toEqual(['page 515 W young', 33]);
    drive(lab.host.unpin(frame));
    const move = drive(beginMove(lab.mm, lab.hva(4)));
    expect(drive(collapseBlock(lab.mm, lab.hva(0)))).toBe('skipped');
    if (move !== null) drive(endMove(lab.mm, move));
    drive(reclaimPage(lab.mm, lab.hva(5)));
    drive(reclaimPage(lab.mm, lab.hva(5)));
    expect(drive(collapseBlock(lab.mm, lab.hva(0)))).toBe('skipped');
    lab.touch(5, false);
    expect(drive(collapseBlock(lab.mm, lab.hva(0)))).toBe('done');
    expect(lab.read(3)).toBe(33);
    expect(lab.wrong()).toEqual([]);
  });

  test('no frames together: noMemory', () => {
    const lab = new HostLab([area('transparentHuge', 0, 2 * MIB)], { frames: 600 });
    lab.write(1, 1);
    drive(splitBlock(lab.mm, lab.hva(1)));
    expect(drive(collapseBlock(lab.mm, lab.hva(1)))).toBe('noMemory');
    expect(lab.wrong()).toEqual([]);
  });
});

describe('merging', () => {
  test('equal pages share a frame read-only, told by change_pte inside brackets; a write copies', () => {
    const lab = anonymous();
    lab.write(1, 7);
    lab.write(2, 7);
    expect(drive(mergePages(lab.mm, lab.hva(1), lab.hva(2)))).toBe('done');
    expect(lab.calls()).toEqual([
      'start 1+1: page 0 W young',
      'change to 0 1: none',
      'end 1+1: page 0 young',
      'start 2+1: page 1 W young',
      'change to 1 2: none',
      'end 2+1: page 1 young',
      'start 2+1: page 1 young',
      'change to 0 2: none',
      'end 2+1: page 0 young',
    ]);
    expect([lab.count(0), lab.count(1), lab.owner(0)]).toEqual([2, 0, -2]);
    expect(lab.wrong()).toEqual([]);
    lab.write(3, 7);
    expect(drive(mergePages(lab.mm, lab.hva(1), lab.hva(3)))).toBe('done');
    expect(drive(migratePage(lab.mm, lab.hva(1)))).toBe('skipped');
    lab.write(2, 8);
    expect([1, 2, 3].map((page) => lab.read(page))).toEqual([7, 8, 7]);
    expect(lab.count(0)).toBe(2);
    expect(lab.wrong()).toEqual([]);
  });

  test('different, pinned, isolated, huge pages and a page with itself are not merged', () => {
    const lab = anonymous();
    lab.write(1, 7);
    lab.write(2, 8);
    const merge = (): string => drive(mergePages(lab.mm, lab.hva(1), lab.hva(2)));
    expect([merge(), lab.read(1), lab.read(2)]).toEqual(['skipped', 7, 8]);
    lab.write(2, 7);
    const { frame } = lab.pin(2, true);
    expect([merge(), lab.entry(2)]).toEqual(['skipped', 'page 1 W young']);
    drive(lab.host.unpin(frame));
    const move = drive(beginMove(lab.mm, lab.hva(1)));
    expect(merge()).toBe('skipped');
    if (move !== null) drive(endMove(lab.mm, move));
    expect(drive(mergePages(lab.mm, lab.hva(1), lab.hva(1)))).toBe('skipped');
    expect(merge()).toBe('done');
    expect(lab.wrong()).toEqual([]);
    const blocks = huge();
    blocks.touch(0, true);
    expect(drive(mergePages(blocks.mm, blocks.hva(0), blocks.hva(1)))).toBe('skipped');
    expect(blocks.entry(0)).toBe('page 0 W young level 2');
  });
});

describe('ageing', () => {
  test.each([
    { name: 'clearFlushYoung', scan: clearFlushYoungPage, clears: true },
    { name: 'clearYoung', scan: clearYoungPage, clears: true },
  ])('$name asks the subscriber for the entry and forgets', ({ name, scan }) => {
    const lab = huge();
    lab.touch(3, true);
    expect(drive(scan(lab.mm, lab.hva(3)))).toBe(true);
    expect(lab.calls()).toEqual([`${name} 0+512: page 0 W level 2`]);
    expect(drive(scan(lab.mm, lab.hva(3)))).toBe(false);
    lab.told.isYoung = true;
    expect(drive(scan(lab.mm, lab.hva(3)))).toBe(true);
  });

  test('testYoung forgets nothing', () => {
    const lab = anonymous();
    lab.touch(3, true);
    for (const young of [true, true]) expect(drive(testYoungPage(lab.mm, lab.hva(3)))).toBe(young);
    expect(lab.calls()).toEqual(['testYoung 3: page 0 W young', 'testYoung 3: page 0 W young']);
  });

  test('a page off the LRU, a zero page and hugetlb are not aged', () => {
    const lab = new HostLab(
      [
        area('anonymous', 0, 4 * PAGE),
        area('hugetlb', 16 * PAGE, 16 * PAGE, { hugeBytes: 16 * PAGE }),
      ],
      { frames: 32 },
    );
    lab.touch(0, true);
    lab.touch(1, false);
    lab.touch(16, true);
    const move = drive(beginMove(lab.mm, lab.hva(0)));
    for (const page of [0, 1, 2, 16])
      expect(drive(clearFlushYoungPage(lab.mm, lab.hva(page)))).toBe(false);
    expect([lab.calls(), lab.entry(0)]).toEqual([[], 'page 0 W young']);
    if (move !== null) drive(endMove(lab.mm, move));
    expect(drive(clearFlushYoungPage(lab.mm, lab.hva(0)))).toBe(true);
  });
});
