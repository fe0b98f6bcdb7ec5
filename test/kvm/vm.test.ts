/** Birth and teardown of a VM's table (specification 5L), ranges applied in chunks (5H), the notifier's own rules (5I). */
import { drive, read32, write32, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { discardSlot } from '../../src/workers/host-operations.ts';
import { DEFAULT_PROFILE, PROFILES } from '../../src/kvm/profile.ts';
import { applyRangeLocked, type Chunking } from '../../src/kvm/range.ts';
import { RewrittenStage2 } from '../../src/kvm/rewritten-stage2.ts';
import { Vm } from '../../src/kvm/vm.ts';
import type { Gfn, Ipa } from '../../src/machine/address.ts';
import { NO_FRAME, TABLE_RAM_BASE } from '../../src/machine/frames.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { decodeVtcr, decodeVttbr } from '../../src/machine/vtcr.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import type { World } from '../../src/workers/world.ts';
import { Guest, Lab, MIB, only, PAGE, RAM, type PathEntry } from '../support/lab.ts';

const GIB = 2 ** 30;

describe('teardown', () => {
  test('frees every page once, without a TLBI, and a second one finds nothing', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    drive(guest.touch(RAM, 'write'));
    drive(guest.touch(RAM + 2 * MIB, 'write'));
    const host = lab.view();
    const events = lab.run(new Scripted([]), [() => host.vm.freeStage2()]);
    // Two root pages, T2, two T3.
    expect(only(events, EventKind.frameFree)).toHaveLength(5);
    expect(only(events, EventKind.tlbi)).toEqual([]);
    expect(lab.used('tables')).toBe(guest.vcpu.memcache.pages);
    expect(read32(lab.world.layout.words.stage2Root)).toBe(0);
    expect(drive(lab.world.vm.pgt())).toBeNull();
    expect(() => drive(lab.world.vm.registers())).toThrow('without a stage-2 table');
    const again = lab.run(new Scripted([]), [() => host.vm.freeStage2()]);
    expect(only(again, EventKind.frameFree)).toEqual([]);
  });

  test('frees outside the lock, after the root word was cleared under it', () => {
    const lab = new Lab();
    const host = lab.view();
    const events = lab.run(new Scripted([]), [() => host.vm.freeStage2()]);
    const { stage2Root } = lab.world.layout.words;
    const { mmu_lock } = lab.world.layout.locks;
    const order = events.flatMap(({ kind, at }) => {
      if (kind === EventKind.lockAcquired && at === mmu_lock) return ['lock'];
      if (kind === EventKind.lockReleased && at === mmu_lock) return ['unlock'];
      if (kind === EventKind.store32 && at === stage2Root) return ['clear'];
      return kind === EventKind.frameFree ? ['free'] : [];
    });
    expect(order).toEqual(['lock', 'clear', 'unlock', 'free', 'free']);
  });

  test('of two at once only one frees', () => {
    const lab = new Lab();
    const views = [lab.view(), lab.view()];
    const { mmu_lock } = lab.world.layout.locks;
    const script = new Scripted([
      { agent: 0, until: ({ at }) => at === lab.world.layout.words.stage2Root },
      // In line behind the holder.
      { agent: 1, until: ({ kind, at }) => kind === EventKind.wait && at > mmu_lock },
      { agent: 0, toEnd: true },
    ]);
    lab.run(
      script,
      views.map((view) => () => view.vm.freeStage2()),
    );
    expect([script.linesDone, lab.used('tables')]).toEqual([3, 0]);
  });
});

describe('birth', () => {
  test('the registers name the root, its shape and the VMID', () => {
    const lab = new Lab();
    write32(lab.world.layout.words.vmid, 9);
    const { vtcr, vttbr } = drive(lab.world.vm.registers());
    expect(decodeVtcr(vtcr)).toEqual({ pageShift: 12, ipaBits: 40, startLevel: 1, lpa2: false });
    expect(decodeVttbr(vttbr.lo, vttbr.hi)).toEqual({ root: TABLE_RAM_BASE, vmid: 9 });
    expect(lab.world.vm.memcachePagesMin).toBe(2);
    const limit = 2 ** 40;
    expect([limit - 1, limit].map((ipa) => lab.world.vm.isInIpaSpace(ipa as Ipa))).toEqual([
      true,
      false,
    ]);
  });

  test('a second one is our bug; one without memory says no', () => {
    const lab = new Lab();
    const { vm } = lab.world;
    expect(() => drive(vm.initStage2())).toThrow('initialised already');
    drive(vm.freeStage2());
    lab.drain('tables', 0);
    expect(drive(vm.initStage2())).toBe(false);
    expect(drive(vm.pgt())).toBeNull();
  });

  test('a table of four levels needs three cached pages', () => {
    expect(new Lab({ ipaBits: 48 }).world.vm.memcachePagesMin).toBe(3);
  });
});

/** Notes the chunks it is given; fails at the n-th. */
class Recorder extends RewrittenStage2 {
  readonly chunks: (readonly [number, number])[] = [];
  readonly #failAt: number;

  constructor(failAt: number = Infinity) {
    super();
    this.#failAt = failAt;
  }

  override *wrprotect(_pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    this.chunks.push([ipa, size]);
    return this.chunks.length === this.#failAt ? 'noMemory' : 'ok';
  }
}

describe('a range', () => {
  /** From 1 MiB before a boundary of the start level to 1 MiB behind the next: three chunks. */
  const range = { ipa: 0x7ff0_0000, bytes: 0x4020_0000 };
  const chunks = [
    [0x7ff0_0000, 0x10_0000],
    [0x8000_0000, 0x4000_0000],
    [0xc000_0000, 0x10_0000],
  ];

  function* applied(
    world: World,
    recorder: Recorder,
    outcomes: boolean[],
    chunking: Chunking = 'yielding',
  ): Op<void> {
    const vm = new Vm({ ...world.vm.parts, stage2: recorder });
    yield* vm.parts.mmuLock.lock();
    outcomes.push(yield* applyRangeLocked(vm, range, 'wrprotect', chunking));
    yield* vm.parts.mmuLock.unlock();
  }

  test('goes an entry of the start level at a time, and keeps a lock that nobody wants', () => {
    const lab = new Lab();
    const [recorder, outcomes] = [new Recorder(), new Array<boolean>()];
    const view = lab.view();
    const events = lab.run(new Scripted([]), [() => applied(view, recorder, outcomes)]);
    expect([recorder.chunks, outcomes]).toEqual([chunks, [true]]);
    expect(only(events, EventKind.lockReleased)).toHaveLength(1);
  });

  test('has a bug of ours where a chunk fails', () => {
    const lab = new Lab();
    const recorder = new Recorder(2);
    expect(() => drive(applied(lab.world, recorder, []))).toThrow('wrprotect of a slot: noMemory');
    expect(recorder.chunks).toEqual(chunks.slice(0, 2));
  });

  test('needs the lock', () => {
    const lab = new Lab();
    expect(() => drive(applyRangeLocked(lab.world.vm, range, 'unmap', 'holding'))).toThrow(
      'not held',
    );
  });

  describe.each(['5.10', '6.12'] as const)('in %s', (kvm) => {
    test.each([
      ['hands the lock over between chunks', 'yielding', false, chunks, true, [1], [0, 1, 0]],
      [
        'keeps a lock that others want, for one who may not block',
        'holding',
        false,
        chunks,
        true,
        [3],
        [0, 1],
      ],
      [
        'ends when the table was torn down meanwhile',
        'yielding',
        true,
        chunks.slice(0, 1),
        false,
        [],
        [0, 1, 0],
      ],
    ] as const)('%s', (_, chunking, isTeardown, seen, outcome, seenByOther, turns) => {
      const lab = new Lab({ kvm });
      const { locks, rwLocks } = lab.world.layout;
      const { mmu_lock } = PROFILES[kvm].mmuLock === 'rw' ? rwLocks : locks;
      const [recorder, outcomes] = [new Recorder(), new Array<boolean>()];
      const [view, other] = [lab.view(), lab.view()];
      const during: number[] = [];
      function* intruder(): Op<void> {
        if (isTeardown) yield* other.vm.freeStage2();
        else {
          yield* other.vm.parts.mmuLock.lock();
          during.push(recorder.chunks.length);
          yield* other.vm.parts.mmuLock.unlock();
        }
      }
      const script = new Scripted([
        // The holder reads the root word: it has the lock and no chunk yet.
        { agent: 0, until: ({ at }) => at === lab.world.layout.words.stage2Root },
        { agent: 1, until: ({ kind }) => kind === EventKind.wait },
        { agent: 0, toEnd: true },
        { agent: 1, toEnd: true },
      ]);
      const events = lab.run(script, [() => applied(view, recorder, outcomes, chunking), intruder]);
      expect([recorder.chunks, outcomes]).toEqual([seen, [outcome]]);
      expect(during).toEqual(seenByOther);
      const order = only(events, EventKind.lockAcquired).filter(({ at }) => at === mmu_lock);
      expect(order.map(({ agent }) => agent)).toEqual(turns);
    });
  });

  test.each([
    ['legacy', [512 * GIB, 64 * GIB, 4096 * GIB]],
    ['5.10', [512 * GIB, 64 * GIB, 4096 * GIB]],
    ['5.18', [GIB, 32 * MIB, 512 * MIB]],
    ['6.12', [GIB, 32 * MIB, 512 * MIB]],
  ] as const)('of %s has chunks of the root or of the largest block', (kvm, bytes) => {
    const found = [12, 14, 16].map((pageShift) => {
      const machine = { ...PLAIN_4K, pageShift };
      const slots = [{ base: RAM, bytes: MIB, logging: false }];
      const lab = new Lab({ kvm, machine, ipaBits: 48, slots });
      const pgt = drive(lab.world.vm.pgt()) as Stage2Pgtable;
      return PROFILES[kvm].stage2.chunkBytes(pgt);
    });
    expect(found).toEqual(bytes);
  });
});

describe('the notifier', () => {
  test('is used under mmu_lock only, and not ended more often than started', () => {
    const { vm } = new Lab().world;
    const { notifier, mmuLock } = vm.parts;
    expect(() => drive(notifier.startLocked())).toThrow('not held');
    expect(() => drive(notifier.endLocked())).toThrow('not held');
    expect(() => drive(notifier.mustRetryLocked(0))).toThrow('not held');
    drive(mmuLock.lock());
    expect(() => drive(notifier.endLocked())).toThrow('notifier end without start');
  });

  test('counts nested invalidations; only the sequence remembers them', () => {
    const lab = new Lab();
    const { notifier, mmuLock } = lab.world.vm.parts;
    const { notifierCount, notifierSequence } = lab.world.layout.words;
    const state = (): number[] => [read32(notifierCount), read32(notifierSequence)];
    drive(mmuLock.lock());
    const states = [state()];
    drive(notifier.startLocked());
    drive(notifier.startLocked());
    states.push(state());
    drive(notifier.endLocked());
    states.push(state());
    expect(drive(notifier.mustRetryLocked(1))).toBe(true);
    drive(notifier.endLocked());
    states.push(state());
    expect(states).toEqual([
      [0, 0],
      [2, 0],
      [1, 1],
      [0, 2],
    ]);
    const sequences = [1, 2, 3];
    const retries = sequences.map((sequence) => drive(notifier.mustRetryLocked(sequence)));
    expect(retries).toEqual([true, false, true]);
  });

  test('raises the sequence before it lowers the count (invariant 47)', () => {
    const lab = new Lab();
    const host = lab.view();
    const { notifierCount, notifierSequence } = lab.world.layout.words;
    const events = lab.run(new Scripted([]), [() => discardSlot(host.vm, lab.slot)]);
    const stores = only(events, EventKind.store32)
      .filter(({ at }) => at === notifierCount || at === notifierSequence)
      .map(({ at, newLo }) => [at === notifierCount ? 'count' : 'sequence', newLo]);
    expect(stores).toEqual([
      ['count', 1],
      ['sequence', 1],
      ['count', 0],
    ]);
  });
});

test('a discard takes leaves, TLB entries, tables and host pages away', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  for (const page of [0, 1, 700]) drive(guest.touch(RAM + page * PAGE, 'write'));
  const before = lab.path(RAM).at(-1) as PathEntry;
  expect([before.level, lab.used('guest')]).toEqual([3, 3]);
  const host = lab.view();
  const events = lab.run(new Scripted([]), [() => discardSlot(host.vm, lab.slot)]);
  expect(lab.path(RAM)).toHaveLength(1);
  expect([lab.used('guest'), lab.used('tables')]).toEqual([0, 2 + guest.vcpu.memcache.pages]);
  const { host: memory } = lab.world.vm.parts;
  expect(memory.lookup(lab.slot.hvaOf((RAM / PAGE) as Gfn))).toBe(NO_FRAME);
  // Three pages with their level, two L3 tables and the L2 table without.
  expect(only(events, EventKind.tlbi).map(({ newLo }) => newLo)).toEqual([3, 3, 0, 3, 0, 0]);
  // Every TLBI was complete before the first host page was freed.
  const order = events.map(({ kind, at }) => [kind, at] as const);
  const last = order.findLastIndex(([kind]) => kind === EventKind.dsbComplete);
  const first = order.findIndex(
    ([kind, at]) => kind === EventKind.store32 && at === lab.world.layout.host.levels[0]?.entries,
  );
  expect(first).toBeGreaterThan(last);
  expect(drive(guest.touch(RAM, 'read'))).toBe(1);
});

test('a root is found by its number, in pages of the granule', () => {
  const machine = { ...PLAIN_4K, pageShift: 14 };
  const lab = new Lab({ machine, slots: [{ base: RAM, bytes: MIB, logging: false }] });
  const { vm } = lab.world;
  drive(vm.freeStage2());
  expect(drive(vm.initStage2())).toBe(true);
  // Sixteen pages each: the second root comes after the first.
  const root = TABLE_RAM_BASE + 16 * 2 ** 14;
  expect(read32(lab.world.layout.words.stage2Root)).toBe(17);
  expect(drive(vm.pgt())?.pgd).toBe(root);
  const { vttbr } = drive(vm.registers());
  expect(decodeVttbr(vttbr.lo, vttbr.hi).root).toBe(root);
});

test('profiles: the default exists, and no fix is named twice', () => {
  expect(Object.keys(PROFILES)).toContain(DEFAULT_PROFILE);
  for (const [name, profile] of Object.entries(PROFILES)) {
    expect(profile.name).toBe(name);
    expect(new Set(profile.fixes.map(({ id }) => id)).size).toBe(profile.fixes.length);
  }
});
