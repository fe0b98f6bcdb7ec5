/** Faults of the host itself: what a pin finds for each kind of area, and what it leaves behind (specification section 5E step 8). */
import { drive } from '#port';
import { describe, expect, test } from 'vitest';
import { discardRange } from '../../../src/kvm/host/discard.ts';
import { Geometry } from '../../../src/machine/geometry.ts';
import { NO_FRAME } from '../../../src/machine/frames.ts';
import { HostLab, area, type HostLabOptions } from './host-lab.ts';

const PAGE = 4096;
const MIB = 2 ** 20;

describe('anonymous memory', () => {
  test('a read finds the zero page, read-only; all pages share it', () => {
    const lab = new HostLab([area('anonymous', 0, 4 * PAGE)]);
    const first = lab.pin(0, false);
    expect(first).toEqual({ status: 'page', frame: lab.frame(0), isWritable: false, level: 3 });
    expect([lab.touch(1, false), lab.entry(0), lab.entry(1)]).toEqual([
      0,
      'zero 0 young',
      'zero 0 young',
    ]);
    expect([lab.count(0), lab.owner(0)]).toEqual([2, -1]);
    lab.touch(2, true);
    expect(lab.entry(2)).toBe('page 1 W young');
    expect(lab.calls()).toEqual([]);
  });

  test('a write finds a page of its own, and so does a later read, writable', () => {
    const lab = new HostLab([area('anonymous', 0, 4 * PAGE)]);
    expect(lab.pin(3, true)).toEqual({
      status: 'page',
      frame: lab.frame(0),
      isWritable: true,
      level: 3,
    });
    expect(lab.pin(3, false)).toEqual({
      status: 'page',
      frame: lab.frame(0),
      isWritable: true,
      level: 3,
    });
    expect([lab.count(0), lab.owner(0)]).toEqual([3, 4]);
  });

  test('a write after a read copies the zero page: announced, changed, closed', () => {
    const lab = new HostLab([area('anonymous', 0, 4 * PAGE)]);
    lab.touch(1, false);
    lab.write(1, 77);
    expect(lab.calls()).toEqual([
      'start 1+1: zero 0 young',
      'change to 1 1: none',
      'end 1+1: page 1 W young',
    ]);
    expect([lab.read(1), lab.read(0), lab.owner(1)]).toEqual([77, 0, 2]);
    expect(lab.wrong()).toEqual([]);
  });

  test('without frames a fault says so; what is present can still be pinned', () => {
    const lab = new HostLab([area('anonymous', 0, 4 * PAGE)], { frames: 2 });
    expect([lab.touch(0, false), lab.touch(1, true)]).toEqual([0, 1]);
    expect([lab.pin(2, true).status, lab.pin(0, true).status]).toEqual(['noMemory', 'noMemory']);
    expect(lab.touch(1, true)).toBe(1);
    expect(lab.wrong()).toEqual([]);
  });
});

describe('permission', () => {
  test('no area, or none any more: fault', () => {
    const lab = new HostLab([area('anonymous', 0, PAGE), area('anonymous', 2 * PAGE, PAGE)]);
    expect(lab.pin(1, false)).toEqual({
      status: 'fault',
      frame: NO_FRAME,
      isWritable: false,
      level: 3,
    });
    expect(lab.pin(3, false).status).toBe('fault');
    expect(lab.pin(2, false).status).toBe('page');
  });

  test('a read-only area can be read and not written', () => {
    const lab = new HostLab([area('anonymous', 0, PAGE, { isWritable: false })]);
    expect([lab.pin(0, true).status, lab.pin(0, false).status]).toEqual(['fault', 'page']);
    const shared = new HostLab([area('shared', 0, PAGE, { isWritable: false })]);
    expect(shared.pin(0, false)).toMatchObject({ status: 'page', isWritable: false });
    expect(shared.pin(0, true).status).toBe('fault');
  });
});

const huge = (options: HostLabOptions = {}): HostLab =>
  new HostLab([area('transparentHuge', 0, 5 * MIB)], { frames: 1600, ...options });

describe('transparent huge pages', () => {
  test('a write takes an aligned block of frames and maps it as one', () => {
    const lab = huge();
    const pinned = lab.pin(5, true);
    expect(pinned).toEqual({ status: 'page', frame: lab.frame(5), isWritable: true, level: 2 });
    expect([lab.entry(0), lab.entry(511), lab.entry(512)]).toEqual([
      'page 0 W young level 2',
      'page 511 W young level 2',
      'none',
    ]);
    expect([lab.count(5), lab.count(6), lab.owner(5), lab.owner(511)]).toEqual([2, 1, 6, 512]);
  });

  test('a read takes the huge zero page; a write then splits it and copies one page', () => {
    const lab = huge();
    expect(lab.pin(7, false)).toMatchObject({ frame: lab.frame(7), isWritable: false, level: 2 });
    expect(lab.touch(600, false)).toBe(88);
    lab.calls();
    lab.write(9, 1);
    expect(lab.calls()).toEqual([
      'start 0+512: zero 0 young level 2',
      'end 0+512: zero 0 young',
      'start 9+1: zero 9 young',
      'change to 512 9: none',
      'end 9+1: page 512 W young',
    ]);
    expect([lab.entry(8), lab.entry(511), lab.entry(512)]).toEqual([
      'zero 8 young',
      'zero 511 young',
      'zero 0 young level 2',
    ]);
  });

  test('a block that leaves the area is mapped by pages', () => {
    const lab = huge();
    expect(lab.touch(1024, true)).toBe(0);
    expect([lab.entry(1024), lab.entry(1025)]).toEqual(['page 0 W young', 'none']);
  });

  test('no huge page where a base page is, nor without frames that lie together', () => {
    const lab = huge({ frames: 511 });
    expect(lab.touch(3, true)).toBe(0);
    expect([lab.entry(3), lab.entry(4)]).toEqual(['page 0 W young', 'none']);
    const filled = huge({ frames: 513 });
    expect(filled.touch(0, true)).toBe(0);
    expect(filled.touch(512, true)).toBe(512);
    expect(filled.entry(512)).toBe('page 512 W young');
    expect(filled.wrong()).toEqual([]);
  });

  test('a page that is missed in a block of base pages comes back as a base page', () => {
    const lab = huge();
    lab.write(0, 1);
    drive(discardRange(lab.mm, lab.range(1, 1)));
    expect(lab.touch(1, true)).toBe(1);
    expect([lab.entry(0), lab.entry(1)]).toEqual(['page 0 W young', 'page 1 W young']);
    drive(discardRange(lab.mm, lab.range(0, 512)));
    lab.touch(3, true);
    expect(lab.entry(3)).toBe('page 515 W young level 2');
    expect(lab.wrong()).toEqual([]);
  });

  test('freed blocks are used again as blocks', () => {
    const lab = huge({ frames: 512 });
    for (let turn = 0; turn < 3; turn++) {
      expect(lab.touch(1, true)).toBe(1);
      expect(lab.entry(1)).toBe('page 1 W young level 2');
      expect(drive(discardRange(lab.mm, lab.range(0, 512)))).toBe('done');
      expect(lab.wrong()).toEqual([]);
    }
  });
});

describe('hugetlb', () => {
  test.each([
    { name: '64K of contiguous entries', shift: 12, bytes: 64 * 1024, level: 3, frames: 16 },
    { name: '2M', shift: 12, bytes: 2 * MIB, level: 2, frames: 512 },
    { name: '32M of contiguous blocks', shift: 12, bytes: 32 * MIB, level: 2, frames: 8192 },
    { name: '1G', shift: 12, bytes: 1024 * MIB, level: 1, frames: 262_144 },
    { name: '32M of the 16K granule', shift: 14, bytes: 32 * MIB, level: 2, frames: 2048 },
    { name: '2M of the 64K granule', shift: 16, bytes: 2 * MIB, level: 3, frames: 32 },
    { name: '512M of the 64K granule', shift: 16, bytes: 512 * MIB, level: 2, frames: 8192 },
  ])('$name: from frames that lie together, for a read too', ({ shift, bytes, level, frames }) => {
    const geometry = new Geometry(shift);
    const vma = area('hugetlb', 0, 2 * bytes, { hugeBytes: bytes });
    const lab = new HostLab([vma], { geometry, frames });
    const last = frames - 1;
    expect(lab.pin(last, false)).toEqual({
      status: 'page',
      frame: lab.frame(last),
      isWritable: true,
      level,
    });
    expect([lab.entry(0), lab.owner(0), lab.owner(last)]).toEqual([
      `page 0 W young${level < 3 ? ` level ${level}` : ''}`,
      1,
      frames,
    ]);
    expect(lab.count(0)).toBe(1);
    expect(lab.pin(frames, true).status).toBe('fault');
  });
});

describe('shared and device memory', () => {
  test('two areas find one page of the object, writable for a read', () => {
    const lab = new HostLab([
      area('shared', 0, 4 * PAGE),
      area('shared', 8 * PAGE, 2 * PAGE, { pgoff: 2 }),
    ]);
    expect(lab.pin(3, false)).toMatchObject({ frame: lab.frame(0), isWritable: true });
    expect(lab.touch(9, true)).toBe(0);
    expect(lab.touch(8, true)).toBe(1);
    // The object, two entries, the pin.
    expect([lab.count(0), lab.owner(0)]).toEqual([4, -4 - 3]);
    lab.write(8, 5);
    expect(lab.touch(2, false)).toBe(1);
    expect(lab.read(2)).toBe(5);
  });

  test('a device has no references to take', () => {
    const lab = new HostLab([area('pfnmap', 0, 4 * PAGE, { pgoff: 0x9000 })]);
    const pinned = lab.pin(3, true);
    expect(pinned).toEqual({ status: 'device', frame: 0x900_3000, isWritable: true, level: 3 });
    expect(lab.touch(3, false)).toBe(-1);
    expect(lab.mm.pages.frames.accounts().used).toBe(0);
  });
});
