/** A twin whose live table is changed by several faults at once: repeated in another order, it still becomes the same. */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { systemOff } from '../../src/kvm/psci.ts';
import type { ProfileName } from '../../src/kvm/profile.ts';
import type { FaultMapping } from '../../src/kvm/stage2-operations.ts';
import type { Ipa } from '../../src/machine/address.ts';
import { GUEST_RAM_BASE } from '../../src/machine/frames.ts';
import { memcacheFor } from '../../src/workers/world.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { getLeaf } from '../../src/pgtable/get-leaf.ts';
import { Guest, Lab, MIB, PAGE, RAM } from '../support/lab.ts';

const LOGGING = [{ base: RAM, bytes: 4 * MIB, logging: true }];

function twinLab(kvm: ProfileName): Lab {
  return new Lab({ kvm, twin: true, slots: LOGGING, frames: 64, vcpus: 3 });
}

/** An agent runs until it is about to line up for the twin's lock. */
function toTwin(lab: Lab, agent: number): ScriptLine {
  const at = lab.world.layout.locks.twin_lock;
  return { agent, until: (pending) => pending.kind === EventKind.add32 && pending.at === at };
}

function digests(lab: Lab): readonly string[] {
  const { vm } = lab.view();
  return drive(vm.parts.twin?.compare(drive(vm.pgt()) as Stage2Pgtable) as Op<readonly string[]>);
}

function isWritableInTwin(lab: Lab, ipa: number): boolean {
  const pgt = drive(lab.view().vm.parts.twin?.pgt() as Op<Stage2Pgtable>);
  const leaf = drive(getLeaf(pgt, ipa));
  return typeof leaf !== 'string' && leaf.entry.isWritable();
}

test('the fault that adds W is repeated before the one that mapped the page', () => {
  const lab = twinLab('6.12');
  const [reader, writer] = [new Guest(lab, 0), new Guest(lab, 1)];
  const script = new Scripted([toTwin(lab, 0), { agent: 1, toEnd: true }]);
  lab.run(script, [() => reader.touch(RAM, 'read'), () => writer.touch(RAM, 'write')]);
  expect(script.linesDone).toBe(2);
  const [live, twin] = digests(lab);
  expect(twin).toBe(live);
  expect(isWritableInTwin(lab, RAM)).toBe(true);
});

test('a fault that is repeated late takes nothing that was taken away since', () => {
  const lab = twinLab('6.12');
  const writer = new Guest(lab, 0);
  drive(writer.touch(RAM, 'write'));
  const { vm } = lab.view();
  drive(vm.parts.mmuLock.lock());
  drive(vm.parts.stage2.wrprotect(drive(vm.pgt()) as Stage2Pgtable, RAM, PAGE));
  drive(vm.parts.mmuLock.unlock());
  drive(vm.parts.mmu.tlbFlushVmid());
  expect(isWritableInTwin(lab, RAM)).toBe(false);
  drive(new Guest(lab, 1).touch(RAM, 'write'));
  const [live, twin] = digests(lab);
  expect(twin).toBe(live);
});

test('a fault whose leaf was replaced by another size is left out, and what it would have kept is not kept', () => {
  const lab = twinLab('6.12');
  const fault = (id: number, what: Partial<FaultMapping>) =>
    function* faultIn(): Op<void> {
      const { vm } = lab.view(id);
      const cache = memcacheFor(lab.view(id), id);
      yield* cache.topUp(vm.memcachePagesMin);
      yield* vm.parts.mmuLock.lockFor('read');
      const pgt = (yield* vm.pgt()) as Stage2Pgtable;
      const outcome = yield* vm.parts.stage2.faultIn(pgt, {
        ipa: RAM as Ipa,
        size: PAGE,
        frame: GUEST_RAM_BASE,
        isWrite: false,
        isExec: false,
        isPermission: false,
        isDevice: false,
        isWritable: false,
        dic: false,
        logging: false,
        leafSize: PAGE,
        cache,
        ...what,
      });
      if (outcome !== 'ok') throw new Error(outcome);
      yield* vm.parts.mmuLock.unlock();
    };
  drive(fault(0, { isWritable: true })());
  // The block comes and goes before it is repeated: the page after it is read-only.
  const script = new Scripted([toTwin(lab, 0), { agent: 1, toEnd: true }]);
  lab.run(script, [fault(0, { size: 2 * MIB }), fault(1, {})]);
  expect(script.linesDone).toBe(2);
  expect(lab.leaf(RAM)).toEqual({ level: 3, hex: '004000008000077f' });
  const [live, twin] = digests(lab);
  expect(twin).toBe(live);
});

describe.each(['5.18', '6.12'] as const)('%s', (kvm) => {
  test('three vCPUs on one page, 60 schedules: equal', () => {
    const lab = twinLab(kvm);
    lab.shared.explore.baseline();
    for (let seed = 1; seed <= 60; seed++) {
      lab.shared.explore.restore();
      const kinds = ['read', 'write', 'exec'] as const;
      const agents = kinds.map((kind, id) => {
        const guest = new Guest(lab, id);
        return function* run(): Op<void> {
          yield* guest.touch(RAM, kind);
          yield* guest.touch(RAM + PAGE, kinds[(id + 1) % 3] as 'read');
        };
      });
      lab.runWith(new RandomScheduler(seed), agents);
      drive(systemOff(lab.view().vm));
      const [live, twin] = digests(lab);
      expect({ seed, twin }).toEqual({ seed, twin: live });
    }
  });
});
