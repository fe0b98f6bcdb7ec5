/** Patch 19: no field holds the root's virtual address. Hardware is told its physical address, which teardown takes away. */
import { read32 } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import type { Ipa, Phys } from '../../src/machine/address.ts';
import { FAULTED } from '../../src/machine/cpu.ts';
import { FRAME_BYTES, TABLE_RAM_BASE } from '../../src/machine/frames.ts';
import { decodeVttbr, encodeVttbr } from '../../src/machine/vtcr.ts';
import { cpuOf } from '../../src/workers/world.ts';
import { Guest, Lab, PAGE, RAM } from '../support/lab.ts';

const ROOT_PAGES = 2;

/** A table whose first page vCPU 0 mapped. */
function mapped(): Lab {
  const lab = new Lab();
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  return lab;
}

/** A copy of the root elsewhere, which no software knows. */
function copiedRoot(lab: Lab, from: Phys): Phys {
  const { tables } = lab.world.memory;
  const copy = drive(tables.zallocContiguous(ROOT_PAGES));
  const words = new Int32Array(lab.shared.memory.buffer);
  const at = tables.wordOf(from) / 4;
  const bytes = ROOT_PAGES * FRAME_BYTES;
  words.copyWithin(tables.wordOf(copy) / 4, at, at + bytes / 4);
  words.fill(0, at, at + bytes / 4);
  return copy;
}

describe('the root', () => {
  test('is shared as one word, which names its frame; each agent builds the handle of its own', () => {
    const lab = mapped();
    const { vttbr } = drive(lab.world.vm.registers());
    const { root } = decodeVttbr(vttbr.lo, vttbr.hi);
    const number = read32(lab.world.layout.words.stage2Root);
    expect(root).toBe(TABLE_RAM_BASE + (number - 1) * FRAME_BYTES);
    const [one, other] = [drive(lab.view().vm.pgt()), drive(lab.view().vm.pgt())];
    expect(one).not.toBe(other);
    expect([one?.pgd, other?.pgd]).toEqual([root, root]);
  });

  test("is where VTTBR_EL2 says, for hardware: software's own idea of it plays no part", () => {
    const lab = mapped();
    const registers = drive(lab.world.vm.registers());
    const { root, vmid } = decodeVttbr(registers.vttbr.lo, registers.vttbr.hi);
    const copy = copiedRoot(lab, root);
    expect(copy).not.toBe(root);
    const read = (from: Phys): boolean => {
      const cpu = cpuOf(lab.view(), 1);
      cpu.load({ ...registers, vttbr: encodeVttbr(from, vmid) });
      drive(cpu.enterGuest());
      const at = drive(cpu.access(RAM as Ipa, 'read'));
      drive(cpu.leaveGuest());
      return at !== FAULTED;
    };
    expect([read(root), read(copy)]).toEqual([false, true]);
  });
});

describe('teardown', () => {
  test('zeroes the word, before any page of the table is freed', () => {
    const lab = mapped();
    const { stage2Root } = lab.world.layout.words;
    const { contents } = lab.world.layout.tableZone;
    const host = lab.view();
    const events = lab.run(new Scripted([]), [() => host.vm.freeStage2()]);
    const order = events.flatMap(({ kind, at, newLo }) => {
      if (kind === EventKind.store32 && at === stage2Root) return [`root ${newLo}`];
      return kind === EventKind.frameFree && at >= contents ? ['free'] : [];
    });
    expect(order).toEqual(['root 0', ...Array.from({ length: ROOT_PAGES + 2 }, () => 'free')]);
    expect(read32(stage2Root)).toBe(0);
  });

  test('leaves no address to load: neither to who had looked before, nor to a new vCPU', () => {
    const lab = mapped();
    const before = new Guest(lab, 0);
    drive(before.touch(RAM, 'read'));
    drive(lab.world.vm.freeStage2());
    expect(() => drive(before.touch(RAM + PAGE, 'read'))).toThrow('without a stage-2 table');
    expect(() => drive(new Guest(lab, 1).touch(RAM, 'read'))).toThrow('without a stage-2 table');
  });
});
