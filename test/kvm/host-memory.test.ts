/** The host's pages behind a slot: one frame per page whoever faults it in, and no frame that is used after it was freed. */
import { drive, load32, Order, read32, store32 } from '#port';
import { expect, test } from 'vitest';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { HOST_PTE_BYTES, HVA_BASE } from '../../src/kvm/host-memory.ts';
import type { Hva, Phys } from '../../src/machine/address.ts';
import { NO_FRAME, POISON } from '../../src/machine/frames.ts';
import { EventKind, RECORD } from '../../src/engine/events.ts';
import { Lab, PAGE } from '../support/lab.ts';

const hva = (page: number): Hva => (HVA_BASE + page * PAGE) as Hva;

test('a pin has a reference of its own; a discard frees the frame when the last pin is gone', () => {
  const lab = new Lab();
  const { host } = lab.world.vm.parts;
  const { guest } = lab.world.memory;
  expect(host.lookup(hva(3))).toBe(NO_FRAME);
  const frame = drive(host.pin(hva(3)));
  expect([frame, host.lookup(hva(3)), drive(guest.count(frame))]).toEqual([frame, frame, 2]);
  expect(read32(lab.world.layout.hostTable + 3 * HOST_PTE_BYTES)).toBe(1);
  expect(drive(host.pin(hva(3)))).toBe(frame);
  expect(drive(host.pin(hva(4)))).toBe(frame + PAGE);
  drive(host.discard(hva(3)));
  expect([host.lookup(hva(3)), drive(guest.count(frame))]).toEqual([NO_FRAME, 2]);
  drive(host.unpin(frame));
  drive(host.unpin(frame));
  expect([lab.used('guest'), read32(guest.wordOf(frame))]).toEqual([1, POISON]);
  drive(host.discard(hva(3)));
  expect(lab.used('guest')).toBe(1);
});

test('out of frames: a page that is present can still be pinned, another cannot', () => {
  const lab = new Lab();
  lab.drain('guest', 1);
  const { host } = lab.world.vm.parts;
  const frame = drive(host.pin(hva(0)));
  expect(drive(host.pin(hva(1)))).toBe(NO_FRAME);
  expect(drive(host.pin(hva(0)))).toBe(frame);
});

test('two that fault in one page: the loser gives its frame back and pins the winner', () => {
  const lab = new Lab();
  const views = [lab.view(), lab.view()];
  const entry = lab.world.layout.hostTable;
  const pinned: Phys[] = [];
  const script = new Scripted([
    { agent: 0, until: ({ kind, at }) => kind === EventKind.cas32 && at === entry },
    { agent: 1, toEnd: true },
    { agent: 0, toEnd: true },
  ]);
  lab.run(
    script,
    views.map(
      (view, id) =>
        function* pin() {
          pinned[id] = yield* view.vm.parts.host.pin(hva(0));
        },
    ),
  );
  expect(pinned).toEqual([0x8000_1000, 0x8000_1000]);
  expect(drive(lab.world.memory.guest.count(0x8000_1000 as Phys))).toBe(3);
  expect(lab.used('guest')).toBe(1);
});

test('a frame that went to another page between the look and the reference is not pinned', () => {
  const lab = new Lab();
  const [slow, discarder, other] = [lab.view(), lab.view(), lab.view()];
  const { meta } = lab.world.layout.guestZone;
  const frame = drive(slow.vm.parts.host.pin(hva(0)));
  drive(slow.vm.parts.host.unpin(frame));
  const pinned: Phys[] = [];
  const script = new Scripted([
    { agent: 0, until: ({ kind, at }) => kind === EventKind.load32 && at === meta },
    { agent: 1, toEnd: true },
    { agent: 2, toEnd: true },
  ]);
  lab.run(script, [
    function* pinSlowly() {
      pinned[0] = yield* slow.vm.parts.host.pin(hva(0));
    },
    () => discarder.vm.parts.host.discard(hva(0)),
    function* pinOther() {
      pinned[2] = yield* other.vm.parts.host.pin(hva(1));
    },
  ]);
  expect(script.linesDone).toBe(3);
  expect([pinned[2], pinned[0]]).toEqual([frame, frame + PAGE]);
  const { guest } = lab.world.memory;
  expect([frame, frame + PAGE].map((at) => drive(guest.count(at as Phys)))).toEqual([2, 2]);
});

test('of two that discard one page, one frees it', () => {
  const lab = new Lab();
  const hosts = [lab.view(), lab.view()].map((view) => view.vm.parts.host);
  drive(lab.world.vm.parts.host.unpin(drive(lab.world.vm.parts.host.pin(hva(0)))));
  const script = new Scripted([
    { agent: 0, until: ({ kind }) => kind === EventKind.cas32 },
    { agent: 1, toEnd: true },
  ]);
  lab.run(
    script,
    hosts.map((host) => () => host.discard(hva(0))),
  );
  expect([script.linesDone, lab.used('guest')]).toEqual([2, 0]);
});

test('two pin the same page in 1,000 schedules: one frame, three references', () => {
  const lab = new Lab();
  lab.shared.explore.baseline();
  for (let seed = 0; seed < 1000; seed++) {
    lab.shared.explore.restore();
    const pinned: Phys[] = [];
    lab.runWith(
      new RandomScheduler(seed),
      [lab.view(), lab.view()].map(
        (view, id) =>
          function* pin() {
            pinned[id] = yield* view.vm.parts.host.pin(hva(0));
          },
      ),
    );
    const frame = lab.world.vm.parts.host.lookup(hva(0));
    const references = drive(lab.world.memory.guest.count(frame));
    expect({ seed, pinned, references, used: lab.used('guest') }).toEqual({
      seed,
      pinned: [frame, frame],
      references: 3,
      used: 1,
    });
  }
});

test("pins race with discards in 1,000 schedules: a pinned frame is no other page's, none is lost", () => {
  const lab = new Lab({ frames: 3 });
  const { layout } = lab.world;
  lab.shared.explore.baseline();
  let freed = 0;
  const onEvent = (record: Int32Array): void => {
    if (((record[RECORD.agentAndKind] as number) & 0xffff) === EventKind.frameFree) freed++;
  };
  for (let seed = 0; seed < 1000; seed++) {
    lab.shared.explore.restore();
    const clashes: string[] = [];
    const user = (page: number) => {
      const { vm, memory } = lab.view();
      const { host } = vm.parts;
      return function* use() {
        for (let turn = 0; turn < 2; turn++) {
          const frame = yield* host.pin(hva(page));
          if (frame === NO_FRAME) continue;
          const at = memory.guest.wordOf(frame);
          yield* store32(at, page + 1, Order.once);
          const seen = yield* load32(at, Order.once);
          if (seen !== page + 1) clashes.push(`page ${page} found ${seen}`);
          yield* host.unpin(frame);
        }
      };
    };
    const discarder = lab.view().vm.parts.host;
    function* discard() {
      for (let turn = 0; turn < 8; turn++) yield* discarder.discard(hva(turn % 2));
    }
    lab.runWith(new RandomScheduler(seed), [user(0), user(1), discard], [{ onEvent }]);
    const present = [0, 1].filter((page) => read32(layout.hostTable + page * 4) !== 0).length;
    expect({ seed, clashes, used: lab.used('guest') }).toEqual({
      seed,
      clashes: [],
      used: present,
    });
    const pinned = [0, 1]
      .map((page) => lab.world.vm.parts.host.lookup(hva(page)))
      .filter((frame) => frame !== NO_FRAME && drive(lab.world.memory.guest.count(frame)) !== 1);
    expect({ seed, pinned }).toEqual({ seed, pinned: [] });
  }
  expect(freed).toBeGreaterThan(500);
});
