/**
 * Guests that access memory by a secondary MMU while the host moves it about, in random schedules: every write stays, every access reaches
 * a frame of its page, every frame is accounted for at the end.
 */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../../src/engine/events.ts';
import { RandomScheduler } from '../../../src/explore/random.ts';
import { Scripted } from '../../../src/explore/scripted.ts';
import { exitMm, protectArea } from '../../../src/kvm/host/areas.ts';
import { collapseBlock } from '../../../src/kvm/host/collapse.ts';
import { discardRange, writeProtectRange } from '../../../src/kvm/host/discard.ts';
import type { HostMemory } from '../../../src/kvm/host/host-memory.ts';
import { mergePages } from '../../../src/kvm/host/merge.ts';
import { migratePage } from '../../../src/kvm/host/migrate.ts';
import { reclaimPage } from '../../../src/kvm/host/reclaim.ts';
import { splitBlock } from '../../../src/kvm/host/split.ts';
import type { VmaSpec } from '../../../src/kvm/host/vma.ts';
import { Counter, HostLab, area, touch, write, type HostLabOptions } from './host-lab.ts';
import { SecondaryMmu, secondaryWords, type SecondaryWords } from './secondary-mmu.ts';

const PAGE = 4096;
const MIB = 2 ** 20;

/** What the host does; all but `drop` keep contents. */
type HostAct = (lab: HostLab, host: HostMemory, page: number) => Op<unknown>;

const migrate: HostAct = (lab, host, page) => migratePage(host.mm, lab.hva(page));
const swap: HostAct = (lab, host, page) => reclaimPage(host.mm, lab.hva(page));
const collapse: HostAct = (lab, host) => collapseBlock(host.mm, lab.hva(0));
const split: HostAct = (lab, host, page) => splitBlock(host.mm, lab.hva(page));
const protect: HostAct = (lab, host, page) => writeProtectRange(host.mm, lab.range(page, 1));
const drop: HostAct = (lab, host, page) => discardRange(host.mm, lab.range(page, 1));
const merge: HostAct = (lab, host, page) => mergePages(host.mm, lab.hva(0), lab.hva(page));

class GuestLab extends HostLab {
  readonly secondary: SecondaryWords;

  constructor(vmas: readonly VmaSpec[], options: HostLabOptions = {}) {
    super(vmas, { ...options, room: 0x4000 });
    this.secondary = secondaryWords(this, 1024);
  }
}

/** Four pages, or a huge one, and frames enough for all who take one before they give one back. */
function labOf(kind: 'anonymous' | 'transparentHuge'): GuestLab {
  const isHuge = kind === 'transparentHuge';
  const frames = isHuge ? 3000 : 24;
  return new GuestLab([area(kind, 0, isHuge ? 2 * MIB : 4 * PAGE)], { frames, swapFrames: 16 });
}

/** A guest that writes and reads its own word of a few pages; `mayVanish`: pages may be discarded. */
function guestOf(
  lab: GuestLab,
  id: number,
  options: { pages: number; turns: number; mayVanish?: boolean },
) {
  const last = new Map<number, number>();
  const mmu = new SecondaryMmu(lab, lab.view(), lab.secondary);
  function* run(): Op<void> {
    for (let turn = 1; turn <= options.turns; turn++) {
      const page = (turn * 7 + id) % options.pages;
      const seen = yield* mmu.read(page, id * 4);
      const expected = last.get(page) ?? 0;
      if (seen !== expected && !(options.mayVanish === true && seen === 0))
        throw new Error(`guest ${id} page ${page}: read ${seen}, wrote ${expected}`);
      yield* mmu.write(page, id * 4, turn);
      last.set(page, turn);
    }
  }
  return { run, last };
}

function actorOf(
  lab: GuestLab,
  acts: readonly HostAct[],
  options: { pages: number; turns: number; seed: number },
) {
  const { host } = new SecondaryMmu(lab, lab.view(), lab.secondary);
  return function* run(): Op<void> {
    for (let turn = 0; turn < options.turns; turn++) {
      const act = acts[(turn + options.seed) % acts.length] as HostAct;
      yield* act(lab, host, (turn * 3 + options.seed) % options.pages);
    }
  };
}

/** What is wrong at the end: frames, mappings, and words that are not what their guest wrote last. */
function wrongAtEnd(
  lab: GuestLab,
  guests: readonly ReturnType<typeof guestOf>[],
  pages: number,
): string[] {
  const mmu = new SecondaryMmu(lab, lab.view(), lab.secondary);
  const wrong = [...lab.wrong(), ...mmu.wrong(pages)];
  for (const [id, { last }] of guests.entries()) {
    for (const [page, value] of last) {
      const found = drive(mmu.read(page, id * 4));
      if (found !== value) wrong.push(`guest ${id} page ${page}: ${found}, wrote ${value}`);
    }
  }
  return wrong;
}

describe('contents survive', () => {
  test.each<{
    name: string;
    acts: HostAct[];
    kind: 'anonymous' | 'transparentHuge';
    seeds: number;
  }>([
    { name: 'migration', acts: [migrate], kind: 'anonymous', seeds: 120 },
    { name: 'swap', acts: [swap, swap], kind: 'anonymous', seeds: 120 },
    { name: 'copy on write', acts: [protect], kind: 'anonymous', seeds: 120 },
    { name: 'merging', acts: [merge], kind: 'anonymous', seeds: 120 },
    {
      name: 'all of them',
      acts: [migrate, swap, protect, merge, swap],
      kind: 'anonymous',
      seeds: 120,
    },
    {
      name: 'collapse and split',
      acts: [collapse, split, migrate, swap],
      kind: 'transparentHuge',
      seeds: 20,
    },
  ])('$name under two guests and two agents of the host', ({ acts, kind, seeds }) => {
    const pages = 3;
    const lab = labOf(kind);
    lab.memory.baseline();
    for (let seed = 0; seed < seeds; seed++) {
      lab.memory.restore();
      const guests = [0, 1].map((id) => guestOf(lab, id, { pages, turns: 6 }));
      const actors = [0, 1].map((i) => actorOf(lab, acts, { pages, turns: 4, seed: seed + i }));
      lab.run(new RandomScheduler(seed), [...guests.map(({ run }) => run), ...actors]);
      expect({ seed, wrong: wrongAtEnd(lab, guests, pages) }).toEqual({ seed, wrong: [] });
    }
  });

  test('shared memory moves under guests in two areas', () => {
    const lab = new GuestLab([area('shared', 0, 2 * PAGE), area('shared', 2 * PAGE, 2 * PAGE)]);
    lab.memory.baseline();
    for (let seed = 0; seed < 120; seed++) {
      lab.memory.restore();
      const guests = [0, 1].map((id) => guestOf(lab, id, { pages: 2, turns: 5 }));
      const actors = [0, 1].map((i) =>
        actorOf(lab, [migrate], { pages: 4, turns: 4, seed: seed + i }),
      );
      lab.run(new RandomScheduler(seed), [...guests.map(({ run }) => run), ...actors]);
      expect({ seed, wrong: wrongAtEnd(lab, guests, 4) }).toEqual({ seed, wrong: [] });
    }
  });
});

describe('discards race with guests and moves', () => {
  const cases: readonly {
    kind: 'anonymous' | 'transparentHuge';
    acts: HostAct[];
    seeds: number;
  }[] = [
    { kind: 'anonymous', acts: [drop, migrate, swap, drop, merge], seeds: 120 },
    { kind: 'transparentHuge', acts: [drop, collapse, protect, swap, split, merge], seeds: 8 },
  ];

  test.each(cases)(
    '$kind: a page is what was written or zero, nothing is lost',
    ({ kind, acts, seeds }) => {
      const lab = labOf(kind);
      const freed = new Counter(EventKind.frameFree);
      lab.memory.baseline();
      for (let seed = 0; seed < seeds; seed++) {
        lab.memory.restore();
        const guests = [0, 1].map((id) =>
          guestOf(lab, id, { pages: 3, turns: 5, mayVanish: true }),
        );
        const actors = [0, 1].map((i) =>
          actorOf(lab, acts, { pages: 3, turns: 8, seed: seed + i }),
        );
        lab.run(new RandomScheduler(seed), [...guests.map(({ run }) => run), ...actors], [freed]);
        const mapped = new SecondaryMmu(lab, lab.view(), lab.secondary).wrong(3);
        expect({ seed, wrong: [...lab.wrong(), ...mapped] }).toEqual({ seed, wrong: [] });
        drive(exitMm(lab.mm));
        expect({ seed, wrong: lab.wrong() }).toEqual({ seed, wrong: [] });
      }
      expect(freed.count).toBeGreaterThan(seeds);
    },
  );
});

describe('a huge page that is faulted in while the host announces a change of one of its pages', () => {
  test.each<{ name: string; change: HostAct; page: string }>([
    { name: 'loses only what is discarded', change: drop, page: 'none' },
    { name: 'is protected only there', change: protect, page: 'page 5 young' },
  ])('$name', ({ change, page }) => {
    const lab = new HostLab([area('transparentHuge', 0, 2 * MIB)], { frames: 600 });
    const [host, guest] = [lab.view(), lab.view()];
    host.subscribe(lab.told);
    const table = lab.lockAt(2);
    const script = new Scripted([
      // Announced, nothing to split seen.
      { agent: 0, until: ({ kind, at }) => kind === EventKind.add32 && at === table },
      { agent: 1, toEnd: true },
    ]);
    lab.run(script, [() => change(lab, host, 5), () => write(guest, lab.hva(4), 44)]);
    expect(script.linesDone).toBe(2);
    expect(lab.calls()).toEqual([
      'start 5+1: none',
      'start 0+512: page 0 W young level 2',
      'end 0+512: page 0 W young',
      `end 5+1: ${page}`,
    ]);
    expect([lab.entry(4), lab.entry(5), lab.read(4)]).toEqual(['page 4 W young', page, 44]);
    expect(lab.wrong()).toEqual([]);
  });
});

test('a block that is split while its first page is made writable stays split', () => {
  const lab = new HostLab([area('transparentHuge', 0, 2 * MIB)], { frames: 600 });
  lab.write(0, 5);
  drive(writeProtectRange(lab.mm, lab.range(0, 512)));
  const [writer, splitter] = [lab.view(), lab.view()];
  const look = lab.lockAt(2);
  let looks = 0;
  const script = new Scripted([
    // The second time it takes the page-table lock.
    { agent: 0, until: ({ kind, at }) => kind === EventKind.add32 && at === look && ++looks === 2 },
    { agent: 1, toEnd: true },
  ]);
  lab.run(script, [
    () => touch(writer, lab.hva(0), true),
    () => splitBlock(splitter.mm, lab.hva(0)),
  ]);
  expect(script.linesDone).toBe(2);
  expect([lab.entry(0), lab.entry(1), lab.read(0)]).toEqual(['page 0 W young', 'page 1 young', 5]);
  expect(lab.wrong()).toEqual([]);
});

describe('two at once', () => {
  test('two that fault in one page get one frame', () => {
    const lab = new HostLab([area('anonymous', 0, 2 * PAGE)]);
    lab.memory.baseline();
    for (let seed = 0; seed < 120; seed++) {
      lab.memory.restore();
      const got: number[] = [];
      const agents = [0, 1].map((id) => {
        const host = lab.view();
        return function* fault(): Op<void> {
          got[id] = yield* touch(host, lab.hva(1), true);
        };
      });
      lab.run(new RandomScheduler(seed), agents);
      expect([got[0], lab.entry(1)]).toEqual([got[1], `page ${got[1]} W young`]);
      expect(lab.wrong()).toEqual([]);
    }
  });

  test('two that write one zero page get one copy, announced once to the end', () => {
    const lab = new HostLab([area('anonymous', 0, 2 * PAGE)]);
    lab.touch(1, false);
    lab.memory.baseline();
    for (let seed = 0; seed < 120; seed++) {
      lab.memory.restore();
      lab.calls();
      const agents = [0, 1].map(() => {
        const host = lab.view();
        host.subscribe(lab.told);
        return () => touch(host, lab.hva(1), true);
      });
      lab.run(new RandomScheduler(seed), agents);
      const calls = lab.calls().map((call) => call.split(' ')[0]);
      expect(calls.filter((call) => call === 'change')).toHaveLength(1);
      expect(calls.filter((call) => call === 'start')).toEqual(
        calls.filter((call) => call === 'end').map(() => 'start'),
      );
      expect(lab.wrong()).toEqual([]);
    }
  });

  test('the last huge page goes to two that fault in it', () => {
    const vma = area('hugetlb', 0, 16 * PAGE, { hugeBytes: 16 * PAGE });
    const lab = new HostLab([vma], { frames: 16 });
    lab.memory.baseline();
    for (let seed = 0; seed < 100; seed++) {
      lab.memory.restore();
      const got: number[] = [];
      const agents = [0, 1].map((id) => {
        const host = lab.view();
        return function* fault(): Op<void> {
          got[id] = yield* touch(host, lab.hva(id), false);
        };
      });
      lab.run(new RandomScheduler(seed), agents);
      expect(got).toEqual([0, 1]);
    }
  });
});

test("a page that is being moved is nobody's, and who faults on it sleeps until the move is over", () => {
  const lab = new HostLab([area('anonymous', 0, 2 * PAGE)]);
  lab.write(1, 9);
  const [mover, guest] = [lab.view(), lab.view()];
  let [owner, found] = [-1, -1];
  const script = new Scripted([
    { agent: 0, until: ({ kind }) => kind === EventKind.copy },
    { agent: 1, until: ({ kind }) => kind === EventKind.wait },
    { agent: 0, toEnd: true },
    { agent: 1, toEnd: true },
  ]);
  lab.run(script, [
    () => migratePage(mover.mm, lab.hva(1)),
    function* fault() {
      owner = yield* guest.mm.pages.frames.owner(lab.frame(0));
      found = yield* touch(guest, lab.hva(1), true);
    },
  ]);
  expect([script.linesDone, owner, found, lab.read(1)]).toEqual([3, 0, 1, 9]);
  expect(lab.wrong()).toEqual([]);
});

test('a frame that went to another page between the look and the reference is not pinned', () => {
  const lab = new HostLab([area('anonymous', 0, 4 * PAGE)]);
  lab.touch(1, true);
  const [slow, other] = [lab.view(), lab.view()];
  const { meta } = lab.mm.pages.frames.layout;
  const pinned: number[] = [];
  const script = new Scripted([
    { agent: 0, until: ({ kind, at }) => kind === EventKind.add32 && at === meta },
    { agent: 1, toEnd: true },
  ]);
  lab.run(script, [
    function* pinSlowly() {
      pinned[0] = yield* touch(slow, lab.hva(1), true);
    },
    function* takeFrame() {
      yield* discardRange(other.mm, lab.range(1, 1));
      pinned[1] = yield* touch(other, lab.hva(2), true);
    },
  ]);
  expect([script.linesDone, pinned]).toEqual([2, [1, 0]]);
  expect(lab.wrong()).toEqual([]);
});

test('a place in swap that was used again meanwhile is not read as the old one', () => {
  const lab = new HostLab([area('anonymous', 0, 2 * PAGE)], { swapFrames: 1 });
  lab.write(1, 9);
  const reclaim = (): string => drive(reclaimPage(lab.mm, lab.hva(1)));
  expect([reclaim(), reclaim()]).toEqual(['young', 'done']);
  const [slow, fast] = [lab.view(), lab.view()];
  const script = new Scripted([
    { agent: 0, until: ({ kind }) => kind === EventKind.copy },
    { agent: 0, steps: 1 },
    { agent: 1, toEnd: true },
    { agent: 0, toEnd: true },
  ]);
  lab.run(script, [
    () => touch(slow, lab.hva(1), false),
    function* writeAndSwap() {
      yield* write(fast, lab.hva(1), 10);
      for (let i = 0; i < 2; i++) yield* reclaimPage(fast.mm, lab.hva(1));
    },
  ]);
  expect(script.linesDone).toBe(3);
  expect(lab.read(1)).toBe(10);
  expect(lab.wrong()).toEqual([]);
});

test('protection taken and given while two write: no write is lost', () => {
  const lab = new GuestLab([area('anonymous', 0, 4 * PAGE)]);
  lab.memory.baseline();
  for (let seed = 0; seed < 100; seed++) {
    lab.memory.restore();
    const guests = [0, 1].map((id) => guestOf(lab, id, { pages: 2, turns: 4 }));
    const { host } = new SecondaryMmu(lab, lab.view(), lab.secondary);
    function* toggle(): Op<void> {
      for (let i = 0; i < 3; i++) yield* protectArea(host.mm, lab.hva(0), true);
      for (let i = 0; i < 3; i++) yield* writeProtectRange(host.mm, lab.range(0, 4));
    }
    lab.run(new RandomScheduler(seed), [...guests.map(({ run }) => run), toggle]);
    expect({ seed, wrong: wrongAtEnd(lab, guests, 2) }).toEqual({ seed, wrong: [] });
  }
});
