/** Patch 5: map and unmap. Blocks where they fit, tables where they do not, and what neighbours of a change see of it. */
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive, type Op } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { enableDirtyLog } from '../../src/workers/host-operations.ts';
import type { Hva, Phys } from '../../src/machine/address.ts';
import { FSC } from '../../src/machine/syndrome.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import { MISS } from '../../src/machine/translation-array.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { stage2Unmap } from '../../src/pgtable/stage2-unmap.ts';
import { G1, M2, RO, RW, TestTable } from '../pgtable/helpers.ts';
import { Guest, Lab, MIB, only, PAGE, RAM, type Seen } from '../support/lab.ts';

const PAGES = M2 / PAGE;
const HOST_RAM = 0x8000_0000;

/** A machine whose host memory is there: page i of the slot is frame i, so that 2 MiB of it can be one block. */
function backedLab(): Lab {
  const slots = [{ base: RAM, bytes: 4 * MIB, logging: true }];
  const lab = new Lab({ slots, frames: 1024 });
  const { host } = lab.world.vm.parts;
  for (let page = 0; page < PAGES; page++) {
    const hva = (lab.slot.hva + page * PAGE) as Hva;
    drive(host.unpin(drive(host.pin(hva, true)).frame));
  }
  return lab;
}

const at = (page: number): number => RAM + page * PAGE;

/** Maps the first 2 MiB of the slot as a block, as the vCPU's fault would. */
function* mapBlock(guest: Guest): Op<void> {
  yield* guest.vcpu.memcache.topUp(2);
  const pgt = (yield* guest.world.vm.pgt()) as Stage2Pgtable;
  const { memcache: cache } = guest.vcpu;
  yield* stage2Map(pgt, { ipa: RAM, size: M2, phys: HOST_RAM as Phys, prot: RW, cache });
}

/** Kind, level hint and page of the slot of each TLBI. */
function tlbis(events: readonly Seen[]): string[] {
  return only(events, EventKind.tlbi).map(({ at: kind, newLo: hint, newHi: page }) =>
    kind === TlbiKind.vmid ? 'vmid' : `page ${page - RAM / PAGE} hint ${hint}`,
  );
}

test('greedy choice: a range becomes the largest leaf that is aligned and fits, again and again', () => {
  const table = new TestTable();
  const size = PAGE + M2 + G1 + M2 + PAGE;
  expect(table.map(G1 - M2 - PAGE, size, 3 * G1 - M2 - PAGE)).toBe('ok');
  expect(table.leaves()).toEqual([
    '3 3fdff000 -> bfdff000 rw-',
    '2 3fe00000 -> bfe00000 rw-',
    '1 40000000 -> c0000000 rw-',
    '2 80000000 -> 100000000 rw-',
    '3 80200000 -> 100200000 rw-',
  ]);
  table.checkPages();
});

test.each([
  ['both sides aligned', 2, 2 * G1, 3 * G1 + M2],
  ['the output a page off', 3, 2 * G1, 3 * G1 + PAGE],
  ['both a page off', 3, 2 * G1 + PAGE, 3 * G1 + PAGE],
] as const)('greedy choice, %s: 2M are leaves of level %d', (_what, level, ipa, phys) => {
  const table = new TestTable();
  expect(table.map(ipa, M2, phys)).toBe('ok');
  expect(new Set(table.contents().leaves.map((leaf) => leaf.level))).toEqual(new Set([level]));
  expect(table.contents().leaves).toHaveLength(level === 2 ? 1 : PAGES);
});

/** A block, write-protected; vCPU 1 has it in its TLB; vCPU 0 writes to page 3. */
function dissolved(): { lab: Lab; writer: Guest; neighbour: Guest; events: readonly Seen[] } {
  const lab = backedLab();
  const [writer, neighbour] = [new Guest(lab, 0), new Guest(lab, 1)];
  drive(mapBlock(writer));
  drive(enableDirtyLog(lab.world, lab.slot));
  expect(drive(neighbour.touch(at(7), 'read'))).toBe(0);
  const events = lab.run(new Scripted([]), [() => writer.touch(at(3), 'write')]);
  return { lab, writer, neighbour, events };
}

describe('dissolve', () => {
  test('a write fault in a logged block breaks it, with its level as hint, and maps the one page', () => {
    const { lab, writer, events } = dissolved();
    expect([writer.vcpu.fault.type, writer.vcpu.fault.level]).toEqual([FSC.permission, 2]);
    expect(tlbis(events)).toEqual(['page 3 hint 2']);
    expect(lab.leaf(at(3))).toEqual({ level: 3, hex: '00400000800037ff' });
    expect(lab.references(at(3))).toEqual([2, 2, 2]);
    const dirty = Array.from({ length: PAGES }, (_, i) => i).filter((i) => lab.slot.isDirty(i));
    expect(dirty).toEqual([3]);
  });

  test('neighbours fault back one by one, each by a translation fault, to the page they had', () => {
    const { lab, neighbour } = dissolved();
    expect(lab.leaf(at(7))).toEqual({ level: 3, hex: '0000000000000000' });
    expect(drive(neighbour.touch(at(7), 'read'))).toBe(1);
    expect([neighbour.vcpu.fault.type, neighbour.vcpu.fault.level]).toEqual([FSC.translation, 3]);
    expect(lab.leaf(at(7)).hex).toBe('004000008000777f');
    expect(lab.leaf(at(8)).hex).toBe('0000000000000000');
    // Page 3 is there already, and writable.
    expect(drive(neighbour.touch(at(3), 'write'))).toBe(0);
    expect(lab.references(at(7))).toEqual([2, 2, 3]);
  });
});

function collapsed(): { lab: Lab; guests: readonly Guest[]; events: readonly Seen[] } {
  const lab = backedLab();
  const guests = [new Guest(lab, 0), new Guest(lab, 1)] as const;
  for (const guest of guests) {
    for (let page = 0; page < 4; page++) drive(guest.touch(at(page), 'write'));
  }
  expect(lab.references(RAM)).toEqual([2, 2, 5]);
  const before = lab.used('tables');
  const events = lab.run(new Scripted([]), [() => mapBlock(guests[0])]);
  expect(lab.used('tables')).toBe(before - 1);
  return { lab, guests, events };
}

describe('collapse', () => {
  test('many leaves go in one flush of the VMID, before the table is freed', () => {
    const { lab, events } = collapsed();
    expect(tlbis(events)).toEqual(['vmid']);
    const kinds = events.map(({ kind }) => kind);
    expect(only(events, EventKind.frameFree)).toHaveLength(1);
    expect(kinds.indexOf(EventKind.dsbComplete)).toBeLessThan(kinds.indexOf(EventKind.frameFree));
    expect(lab.leaf(RAM)).toEqual({ level: 2, hex: '00400000800007fd' });
    expect(lab.references(RAM)).toEqual([2, 2]);
  });

  test('every page of the block is there for every vCPU without a fault', () => {
    const { lab, guests } = collapsed();
    for (const guest of guests) {
      for (const page of [0, 3, 4, 511]) expect(drive(guest.touch(at(page), 'write'))).toBe(0);
    }
    // The entries of single pages went from the TLBs: what the vCPUs use now is the block.
    const [first] = guests as [Guest];
    expect(first.cpu.tlb.find(at(3), 3, drive(lab.world.vm.parts.mmu.vmid()))).toBe(MISS);
  });
});

describe('unmap', () => {
  test('of a page of a block removes all of it, by one TLBI with the level of the block', () => {
    const lab = backedLab();
    const guest = new Guest(lab, 0);
    drive(mapBlock(guest));
    expect(drive(guest.touch(at(9), 'write'))).toBe(0);
    // A page beside the block keeps the table.
    expect(drive(guest.touch(at(PAGES), 'write'))).toBe(1);
    const pgt = drive(lab.view().vm.pgt()) as Stage2Pgtable;
    const events = lab.run(new Scripted([]), [() => stage2Unmap(pgt, at(5), PAGE)]);
    expect(tlbis(events)).toEqual(['page 5 hint 2']);
    expect(only(events, EventKind.dcacheClean).map(({ newLo }) => newLo)).toEqual([M2]);
    expect(drive(guest.touch(at(9), 'write'))).toBe(1);
    expect(guest.vcpu.fault.type).toBe(FSC.translation);
  });

  test('frees each table with its last entry: the references of a life, step by step', () => {
    const table = new TestTable();
    const far = RAM + M2;
    const trace: [string, number[], number][] = [];
    const step = (what: string, outcome: string): void => {
      expect(outcome).toBe('ok');
      trace.push([what, table.counts(RAM), table.checkPages()]);
    };
    step('map page 0', table.map(RAM, PAGE, HOST_RAM));
    step('map page 1', table.map(RAM + PAGE, PAGE, HOST_RAM + PAGE));
    step('map page 1 read-only', table.map(RAM + PAGE, PAGE, HOST_RAM + PAGE, RO));
    step('map far page', table.map(far, PAGE, HOST_RAM + M2));
    step('unmap page 0', table.unmap(RAM, PAGE));
    step('unmap page 0 again', table.unmap(RAM, PAGE));
    step('unmap page 1', table.unmap(RAM + PAGE, PAGE));
    step('unmap far page', table.unmap(far, PAGE));
    // References of the root, T2 and T3; pages of the table, two of them the root's.
    expect(trace).toEqual([
      ['map page 0', [2, 2, 2], 4],
      ['map page 1', [2, 2, 3], 4],
      ['map page 1 read-only', [2, 2, 3], 4],
      ['map far page', [2, 3, 3], 5],
      ['unmap page 0', [2, 3, 2], 5],
      ['unmap page 0 again', [2, 3, 2], 5],
      ['unmap page 1', [2, 2], 4],
      ['unmap far page', [1], 2],
    ]);
  });
});
