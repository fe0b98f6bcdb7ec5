/** A vCPU's cache of table pages (specification 5N). */
import { drive, read32 } from '#port';
import { expect, test } from 'vitest';
import { Memcache } from '../../src/kvm/memcache.ts';
import { CACHE_PAGES } from '../../src/kvm/table-page-cache.ts';
import type { Phys } from '../../src/machine/address.ts';
import { NO_FRAME, POISON, TABLE_RAM_BASE } from '../../src/machine/frames.ts';
import { memcacheFor } from '../../src/workers/world.ts';
import { Lab, PAGE } from '../support/lab.ts';

function popAll(cache: Memcache): Phys[] {
  const pages: Phys[] = [];
  for (let page = drive(cache.alloc()); page !== NO_FRAME; page = drive(cache.alloc()))
    pages.push(page);
  return pages;
}

test('fills to capacity, gives every page once, zeroed, with one reference', () => {
  const lab = new Lab();
  const { tables } = lab.world.memory;
  // A recycled page is poisoned until the cache has it zeroed.
  const recycled = drive(tables.zalloc());
  drive(tables.put(recycled));
  expect(read32(tables.wordOf(recycled))).toBe(POISON);
  const cache = memcacheFor(lab.world, 0);
  expect([cache.pages, drive(cache.topUp(2)), cache.pages]).toEqual([0, true, CACHE_PAGES]);
  const pages = popAll(cache);
  expect(new Set(pages).size).toBe(40);
  expect(pages).toContain(recycled);
  // The root has frames 0 and 1.
  expect(Math.min(...pages)).toBe(TABLE_RAM_BASE + 2 * PAGE);
  for (const page of pages) {
    expect(drive(tables.count(page))).toBe(1);
    const words = Array.from({ length: 1024 }, (_, i) => read32(tables.wordOf(page) + i * 4));
    expect(words.every((word) => word === 0)).toBe(true);
  }
  expect([cache.pages, drive(cache.alloc())]).toEqual([0, NO_FRAME]);
});

test('allocates nothing at or above the minimum, and all below it', () => {
  const lab = new Lab();
  const cache = memcacheFor(lab.world, 1);
  drive(cache.topUp(1));
  for (let i = 0; i < 38; i++) drive(cache.alloc());
  const used = lab.used('tables');
  expect([drive(cache.topUp(2)), cache.pages, lab.used('tables')]).toEqual([true, 2, used]);
  expect([drive(cache.topUp(3)), cache.pages, lab.used('tables')]).toEqual([true, 40, used + 38]);
});

test('with an allocator that runs dry: false below the minimum only, and keeps what it got', () => {
  for (const [leave, min, isEnough] of [
    [0, 1, false],
    [1, 2, false],
    [2, 2, true],
    [5, 2, true],
    [0, 0, true],
  ] as const) {
    const lab = new Lab();
    lab.drain('tables', leave);
    const cache = memcacheFor(lab.world, 0);
    expect([leave, min, drive(cache.topUp(min))]).toEqual([leave, min, isEnough]);
    expect(cache.pages).toBe(leave);
  }
});

test("lives in shared memory: another object of the owner's sees it, another vCPU's does not", () => {
  const lab = new Lab();
  drive(memcacheFor(lab.world, 0).topUp(1));
  expect([memcacheFor(lab.view(), 0).pages, memcacheFor(lab.view(), 1).pages]).toEqual([40, 0]);
});
