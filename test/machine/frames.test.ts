import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive, write32, type Op } from '../../src/engine/explore.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import type { Phys } from '../../src/machine/address.ts';
import {
  FRAME_BYTES,
  GUEST_RAM_BASE,
  NO_FRAME,
  TABLE_RAM_BASE,
  type FrameZone,
} from '../../src/machine/frames.ts';
import { TinyMachine, countOf, must } from '../support/tiny-machine.ts';

/** Every byte of a freed frame. */
const POISON_BYTE = 0x6b;

const at = (index: number): Phys => (TABLE_RAM_BASE + index * FRAME_BYTES) as Phys;

/** Every byte kept of a frame, each value once. */
function valuesOf(machine: TinyMachine, zone: FrameZone, frame: Phys): number[] {
  const { buffer } = machine.memory.words;
  return [...new Set(new Uint8Array(buffer, zone.wordOf(frame), zone.layout.contentBytes))];
}

describe('one frame', () => {
  test('has a word and a note for its holder', () => {
    const { tables } = new TinyMachine().main.memory;
    const words = [1, 2, 3].map((note) => {
      const word = tables.wordOf(drive(tables.zalloc()));
      return { at: word, note, record: tables.recordOf(word + 8 * note, note) };
    });
    expect(new Set(words.map(({ record }) => record)).size).toBe(3);
    for (const { record, ...known } of words) {
      write32(record, 77);
      expect(tables.recorded(record)).toEqual(known);
      expect(drive(tables.putAt(known.at))).toBe(true);
    }
    expect(tables.accounts()).toEqual({ used: 3, free: 3 });
  });

  test('is handed out zeroed with one reference', () => {
    const machine = new TinyMachine();
    const zone = machine.main.memory.tables;
    const before = zone.wordOf(at(0)) >>> 2;
    machine.memory.words.fill(0x1234, before, before + FRAME_BYTES / 4);
    machine.memory.words[before + FRAME_BYTES / 4] = 0x5678;
    const frame = drive(zone.zalloc());
    expect(frame).toBe(at(0));
    expect(drive(zone.count(frame))).toBe(1);
    expect(valuesOf(machine, zone, frame)).toEqual([0]);
    // Its neighbour is left alone.
    expect(machine.memory.words[before + FRAME_BYTES / 4]).toBe(0x5678);
  });

  test('lives as long as it has references, then is poisoned, and comes back zeroed', () => {
    const machine = new TinyMachine();
    const zone = machine.main.memory.tables;
    const frame = drive(zone.zalloc());
    drive(zone.get(frame));
    drive(zone.get(frame));
    expect(drive(zone.count(frame))).toBe(3);
    expect([drive(zone.put(frame)), drive(zone.put(frame))]).toEqual([false, false]);
    expect(valuesOf(machine, zone, frame)).toEqual([0]);
    expect(drive(zone.put(frame))).toBe(true);
    expect(drive(zone.count(frame))).toBe(0);
    expect(valuesOf(machine, zone, frame)).toEqual([POISON_BYTE]);
    expect(zone.accounts()).toEqual({ used: 1, free: 1 });
    expect(drive(zone.zalloc())).toBe(frame);
    expect(valuesOf(machine, zone, frame)).toEqual([0]);
    expect(zone.accounts()).toEqual({ used: 1, free: 0 });
  });

  test('is poisoned before it is on the free list', () => {
    const machine = new TinyMachine();
    const seen = machine.alone(function* () {
      const zone = machine.agent().memory.tables;
      yield* zone.put(yield* zone.zalloc());
    });
    const kinds = new Set<EventKind>([
      EventKind.lockAcquired,
      EventKind.lockReleased,
      EventKind.fill,
      EventKind.frameAlloc,
      EventKind.frameFree,
    ]);
    expect(seen.filter((e) => kinds.has(e.kind)).map((e) => [e.kind, e.lo & 0xff])).toEqual([
      [EventKind.lockAcquired, 0],
      [EventKind.lockReleased, 0],
      [EventKind.frameAlloc, 0],
      [EventKind.fill, 0],
      [EventKind.fill, POISON_BYTE],
      [EventKind.frameFree, 0],
      [EventKind.lockAcquired, 1],
      [EventKind.lockReleased, 1],
    ]);
  });

  test('free, has no reference to take or to drop', () => {
    const zone = new TinyMachine().main.memory.tables;
    const frame = drive(zone.zalloc());
    drive(zone.put(frame));
    expect(() => drive(zone.put(frame))).toThrow('reference dropped on free frame');
    const other = new TinyMachine().main.memory.tables;
    expect(() => drive(other.get(at(3)))).toThrow('reference taken on free frame');
  });

  test.each([64, FRAME_BYTES])('is known by any of the %d bytes kept of it', (contentBytes) => {
    const machine = new TinyMachine({ contentBytes });
    const zone = machine.main.memory.guest;
    const [first, second] = [drive(zone.zalloc()), drive(zone.zalloc())];
    drive(zone.getAt(zone.wordOf(second)));
    drive(zone.getAt(zone.wordOf(second) + contentBytes - 8));
    expect([drive(zone.count(first)), drive(zone.count(second))]).toEqual([1, 3]);
    expect(drive(zone.countAt(zone.wordOf(second) + contentBytes - 4))).toBe(3);
    expect(drive(zone.putAt(zone.wordOf(first) + contentBytes - 4))).toBe(true);
    expect(valuesOf(machine, zone, first)).toEqual([POISON_BYTE]);
    expect(valuesOf(machine, zone, second)).toEqual([0]);
    expect(() => drive(zone.putAt(zone.wordOf(first)))).toThrow('reference dropped on free frame');
    expect(() => drive(zone.getAt(zone.wordOf(first)))).toThrow('reference taken on free frame');
  });

  test('tryGet takes a reference only of a frame that has one', () => {
    const zone = new TinyMachine().main.memory.tables;
    const frame = drive(zone.zalloc());
    expect(drive(zone.tryGet(frame))).toBe(true);
    expect(drive(zone.count(frame))).toBe(2);
    drive(zone.put(frame));
    drive(zone.put(frame));
    expect(drive(zone.tryGet(frame))).toBe(false);
    expect(drive(zone.count(frame))).toBe(0);
  });

  test('with references left is never handed out', () => {
    const machine = new TinyMachine();
    const zone = machine.main.memory.tables;
    drive(zone.put(drive(zone.zalloc())));
    machine.memory.words[machine.tableZone.meta >>> 2] = 1;
    expect(() => drive(zone.zalloc())).toThrow('frame 0 was free with references');
  });
});

describe('a zone', () => {
  test('is exhausted after its last frame, and serves again after a free', () => {
    const zone = new TinyMachine({ tableFrames: 3 }).main.memory.tables;
    const frames = [0, 1, 2].map(() => drive(zone.zalloc()));
    expect(frames).toEqual([at(0), at(1), at(2)]);
    expect(drive(zone.zalloc())).toBe(NO_FRAME);
    expect(zone.accounts()).toEqual({ used: 3, free: 0 });
    drive(zone.put(at(1)));
    expect(drive(zone.zalloc())).toBe(at(1));
    expect(drive(zone.zalloc())).toBe(NO_FRAME);
  });

  test('gives contiguous frames aligned to their size; what that skips is free', () => {
    const machine = new TinyMachine({ tableFrames: 12 });
    const zone = machine.main.memory.tables;
    drive(zone.zalloc());
    expect(drive(zone.zallocContiguous(4))).toBe(at(4));
    expect([4, 5, 6, 7].map((i) => drive(zone.count(at(i))))).toEqual([1, 1, 1, 1]);
    expect([3, 8].map((i) => drive(zone.count(at(i))))).toEqual([0, 0]);
    expect([4, 5, 6, 7].map((i) => valuesOf(machine, zone, at(i)))).toEqual([[0], [0], [0], [0]]);
    expect(zone.accounts()).toEqual({ used: 8, free: 3 });
    expect(drive(zone.zallocContiguous(4))).toBe(at(8));
    expect(drive(zone.zallocContiguous(4))).toBe(NO_FRAME);
    // The three that were skipped, then nothing.
    const rest = [0, 1, 2, 3].map(() => drive(zone.zalloc()));
    expect(rest.toSorted((a, b) => a - b)).toEqual([NO_FRAME, at(1), at(2), at(3)]);
  });

  test('gives a group of contiguous frames again once all of it is free', () => {
    const machine = new TinyMachine({ tableFrames: 12 });
    const zone = machine.main.memory.tables;
    for (const first of [0, 4, 8]) expect(drive(zone.zallocContiguous(4))).toBe(at(first));
    for (const index of [5, 9, 4, 3, 6]) drive(zone.put(at(index)));
    expect(drive(zone.zallocContiguous(4))).toBe(NO_FRAME);
    drive(zone.put(at(7)));
    drive(zone.put(at(10)));
    expect(drive(zone.zallocContiguous(4))).toBe(at(4));
    expect(valuesOf(machine, zone, at(5))).toEqual([0]);
    expect(zone.accounts()).toEqual({ used: 12, free: 3 });
    // The others in their order: last freed, first out.
    expect([1, 2, 3, 4].map(() => drive(zone.zalloc()))).toEqual([at(10), at(3), at(9), NO_FRAME]);
  });

  test('a frame has the owner it was given until it is free', () => {
    const zone = new TinyMachine().main.memory.tables;
    const frame = drive(zone.zalloc());
    expect(drive(zone.owner(frame))).toBe(0);
    drive(zone.own(frame, -7));
    drive(zone.get(frame));
    drive(zone.put(frame));
    expect(drive(zone.owner(frame))).toBe(-7);
    drive(zone.put(frame));
    expect(drive(zone.owner(frame))).toBe(0);
  });

  test('has no contiguous frames when alignment would pass its end', () => {
    const zone = new TinyMachine({ tableFrames: 7 }).main.memory.tables;
    drive(zone.zalloc());
    expect(drive(zone.zallocContiguous(4))).toBe(NO_FRAME);
    expect(zone.accounts()).toEqual({ used: 1, free: 0 });
    expect(drive(zone.zallocContiguous(2))).toBe(at(2));
  });

  test('knows its own addresses', () => {
    const zone = new TinyMachine({ tableFrames: 2 }).main.memory.tables;
    const ends = [TABLE_RAM_BASE - 1, TABLE_RAM_BASE, at(2) - 1, at(2)] as Phys[];
    expect(ends.map((address) => zone.contains(address))).toEqual([false, true, true, false]);
    expect(() => zone.wordOf(at(-1))).toThrow(/^no frame at 0xffffff000$/);
    expect(() => zone.wordOf(at(2))).toThrow(/^no frame at 0x1000002000$/);
  });

  test('keeps a whole frame, or one line of each', () => {
    const { main, guestZone, tableZone } = new TinyMachine({ contentBytes: 64 });
    const guest = (GUEST_RAM_BASE + 3 * FRAME_BYTES + 0x38) as Phys;
    expect(main.memory.guest.wordOf(guest)).toBe(guestZone.contents + 3 * 64 + 0x38);
    expect(main.memory.wordOf(guest)).toBe(guestZone.contents + 3 * 64 + 0x38);
    expect(main.memory.wordOf((at(2) + 0xff8) as Phys)).toBe(tableZone.contents + 0x2ff8);
    expect(main.memory.wordOf(TABLE_RAM_BASE)).toBe(tableZone.contents);
  });

  test('poisons no more than the line it keeps', () => {
    const machine = new TinyMachine({ contentBytes: 64 });
    const zone = machine.main.memory.guest;
    const [first, second] = [drive(zone.zalloc()), drive(zone.zalloc())];
    drive(zone.put(first));
    expect(valuesOf(machine, zone, first)).toEqual([POISON_BYTE]);
    expect(valuesOf(machine, zone, second)).toEqual([0]);
  });
});

/** What a zone must do, by the rules alone: references of each frame ever seen. */
class Model {
  readonly references = new Map<number, number>();

  live(): number[] {
    return [...this.references].filter(([, n]) => n > 0).map(([frame]) => frame);
  }

  /** Frames handed out: none of them was in use. */
  born(zone: FrameZone, first: Phys, count: number): void {
    if (first === NO_FRAME) return;
    for (let i = 0; i < count; i++) {
      const frame = (first + i * FRAME_BYTES) as Phys;
      must(zone.contains(frame), `frame ${frame} is not of the zone`);
      must((this.references.get(frame) ?? 0) === 0, `frame ${frame} is in use`);
      this.references.set(frame, 1);
    }
  }

  /** Applies a step to a zone and to the model; gives what the zone answers and what it must. */
  apply(zone: FrameZone, what: Step['what'], which: number): readonly [unknown, unknown] {
    const live = this.live();
    if (what === 'zalloc') {
      const fresh = drive(zone.zalloc());
      this.born(zone, fresh, 1);
      return [fresh === NO_FRAME, live.length === FRAMES];
    }
    if (what === 'pair') {
      const pair = drive(zone.zallocContiguous(2));
      this.born(zone, pair, 2);
      return [pair % (2 * FRAME_BYTES), 0];
    }
    const frame = live[which % Math.max(1, live.length)] as Phys | undefined;
    if (frame === undefined) return [0, 0];
    const references = (this.references.get(frame) as number) + (what === 'put' ? -1 : 1);
    this.references.set(frame, references);
    if (what === 'get') return [drive(zone.get(frame)), undefined];
    if (what === 'tryGet') return [drive(zone.tryGet(frame)), true];
    return [drive(zone.put(frame)), references === 0];
  }
}

const FRAMES = 6;

interface Step {
  readonly what: 'zalloc' | 'pair' | 'get' | 'tryGet' | 'put';
  readonly which: number;
}

test('random allocations and references agree with a model', () => {
  const step: fc.Arbitrary<Step> = fc.record({
    what: fc.constantFrom<Step['what']>('zalloc', 'pair', 'get', 'tryGet', 'put', 'put'),
    which: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const zone = new TinyMachine({ tableFrames: FRAMES }).main.memory.tables;
      const model = new Model();
      for (const { what, which } of steps) {
        const [answer, due] = model.apply(zone, what, which);
        expect([what, answer]).toEqual([what, due]);
        const counts = [...model.references.keys()].map((frame) =>
          drive(zone.count(frame as Phys)),
        );
        expect(counts).toEqual([...model.references.values()]);
        const { used, free } = zone.accounts();
        expect(used - free).toBe(model.live().length);
      }
    }),
    { seed: 8, numRuns: 60 },
  );
});

describe('several agents', () => {
  test('never hold one frame between them, and lose none', () => {
    const machine = new TinyMachine({ tableFrames: 4 });
    machine.memory.baseline();
    let exhausted = 0;
    for (let seed = 0; seed < 100; seed++) {
      machine.memory.restore();
      const owners = new Map<number, number>();
      const worker = (id: number) =>
        function* (): Op<void> {
          const zone = machine.agent().memory.tables;
          for (let i = 0; i < 3; i++) {
            const one = yield* zone.zalloc();
            const two = yield* zone.zalloc();
            for (const frame of [one, two]) {
              if (frame === NO_FRAME) exhausted++;
              else {
                expect(owners.has(frame)).toBe(false);
                owners.set(frame, id);
              }
            }
            for (const frame of [one, two]) {
              if (frame === NO_FRAME) continue;
              expect(valuesOf(machine, zone, frame)).toEqual([0]);
              owners.delete(frame);
              expect(yield* zone.put(frame)).toBe(true);
            }
          }
        };
      const { result } = machine.run([worker(0), worker(1), worker(2)], new RandomScheduler(seed));
      expect(result).toMatchObject({ outcome: 'completed' });
      const { used, free } = machine.main.memory.tables.accounts();
      expect(free).toBe(used);
    }
    // The zone is smaller than what they want together.
    expect(exhausted).toBeGreaterThan(0);
  });

  test('drop the last reference once', () => {
    const machine = new TinyMachine();
    const frame = drive(machine.main.memory.tables.zalloc());
    drive(machine.main.memory.tables.get(frame));
    drive(machine.main.memory.tables.get(frame));
    machine.memory.baseline();
    for (let seed = 0; seed < 50; seed++) {
      machine.memory.restore();
      const drop = function* (): Op<void> {
        yield* machine.agent().memory.tables.put(frame);
      };
      const { result, seen } = machine.run([drop, drop, drop], new RandomScheduler(seed));
      expect(result).toMatchObject({ outcome: 'completed' });
      expect(countOf(seen, EventKind.frameFree)).toBe(1);
      expect(machine.main.memory.tables.accounts()).toEqual({ used: 1, free: 1 });
    }
  });

  test('tryGet never revives a frame whose last reference goes', () => {
    const machine = new TinyMachine();
    const frame = drive(machine.main.memory.tables.zalloc());
    machine.memory.baseline();
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      machine.memory.restore();
      let taken = false;
      let freed = false;
      const { result } = machine.run(
        [
          function* () {
            freed = yield* machine.agent().memory.tables.put(frame);
          },
          function* () {
            taken = yield* machine.agent().memory.tables.tryGet(frame);
          },
        ],
        new RandomScheduler(seed),
      );
      expect(result).toMatchObject({ outcome: 'completed' });
      expect(taken).toBe(!freed);
      expect(drive(machine.main.memory.tables.count(frame))).toBe(taken ? 1 : 0);
      outcomes.add(`${taken}`);
    }
    expect([...outcomes].toSorted()).toEqual(['false', 'true']);
  });
});
