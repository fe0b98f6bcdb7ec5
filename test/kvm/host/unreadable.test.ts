/** A page that cannot be copied, because its memory or the swap device is broken: what is answered, and that nothing is lost or kept. */
import { drive } from '#port';
import { describe, expect, test } from 'vitest';
import { collapseBlock } from '../../../src/kvm/host/collapse.ts';
import { mergePages } from '../../../src/kvm/host/merge.ts';
import { migratePage } from '../../../src/kvm/host/migrate.ts';
import { reclaimPage } from '../../../src/kvm/host/reclaim.ts';
import { splitBlock } from '../../../src/kvm/host/split.ts';
import { HostLab, area } from './host-lab.ts';

const PAGE = 4096;
const MIB = 2 ** 20;

describe('when a page cannot be copied', () => {
  test('for a write to a merged page: poisoned, and the next write gets a copy', () => {
    const lab = new HostLab([area('anonymous', 0, 4 * PAGE)]);
    lab.write(0, 7);
    lab.write(1, 7);
    drive(mergePages(lab.mm, lab.hva(0), lab.hva(1)));
    lab.unreadable.spared = 0;
    expect(lab.pin(0, true)).toMatchObject({ status: 'poisoned', frame: 0 });
    expect([lab.wrong(), lab.read(0), lab.read(1)]).toEqual([[], 7, 7]);
    expect(lab.pin(0, true).status).toBe('page');
  });

  test('back from swap: fault, and the page is still there', () => {
    const lab = new HostLab([area('anonymous', 0, 4 * PAGE)]);
    lab.write(0, 7);
    drive(reclaimPage(lab.mm, lab.hva(0)));
    expect(drive(reclaimPage(lab.mm, lab.hva(0)))).toBe('done');
    lab.unreadable.spared = 0;
    expect(lab.pin(0, false)).toMatchObject({ status: 'fault', frame: 0 });
    expect([lab.wrong(), lab.entry(0), lab.read(0)]).toEqual([[], 'swapped', 7]);
    lab.touch(0, false);
    expect(lab.read(0)).toBe(7);
  });

  test.each([
    ['to swap', reclaimPage],
    ['to another frame', migratePage],
  ] as const)('%s: it stays where it was', (_, move) => {
    const lab = new HostLab([area('anonymous', 0, 4 * PAGE)]);
    lab.write(0, 7);
    drive(reclaimPage(lab.mm, lab.hva(0)));
    lab.unreadable.spared = 0;
    expect(drive(move(lab.mm, lab.hva(0)))).toBe('skipped');
    expect([lab.wrong(), lab.index(lab.host.lookup(lab.hva(0))), lab.read(0)]).toEqual([[], 0, 7]);
    expect(drive(move(lab.mm, lab.hva(0)))).toBe('done');
  });

  test('into a huge page: all base pages are back', () => {
    const lab = new HostLab([area('transparentHuge', 0, 2 * MIB)], { frames: 2048 });
    for (const page of [0, 1, 511]) lab.write(page, page + 1);
    drive(splitBlock(lab.mm, lab.hva(0)));
    lab.unreadable.spared = 2;
    expect(drive(collapseBlock(lab.mm, lab.hva(0)))).toBe('skipped');
    expect([lab.wrong(), [0, 1, 511].map((page) => lab.read(page))]).toEqual([[], [1, 2, 512]]);
    expect(lab.entry(0)).toMatch(/^page \d+ W/);
    expect(drive(collapseBlock(lab.mm, lab.hva(0)))).toBe('done');
  });
});
