import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import type { Pending } from '../../src/engine/execution.ts';
import {
  Barrier,
  Order,
  barrier,
  drive,
  load32,
  store32,
  type Op,
  type Word,
} from '../../src/engine/explore.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import {
  ipa,
  type Asid,
  type Ipa,
  type Level,
  type Va,
  type Vmid,
} from '../../src/machine/address.ts';
import { FAULTED, type Cpu } from '../../src/machine/cpu.ts';
import { Descriptor, storeDescriptor } from '../../src/machine/descriptor.ts';
import { FRAME_BYTES, GUEST_RAM_BASE } from '../../src/machine/frames.ts';
import {
  NO_HINT,
  RING_COMMANDS,
  TlbiKind,
  answerAfter,
  hasPerformed,
  type Stage2Command,
  type TlbiCommand,
} from '../../src/machine/tlbi.ts';
import { encodeVttbr } from '../../src/machine/vtcr.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import {
  TinyMachine,
  countOf,
  descriptorLoads,
  type Seen,
  type TinyAgent,
  configOf,
} from '../support/tiny-machine.ts';

const VMID = 1 as Vmid;
const AT = ipa(0x4060_3000);
const VTCR = configOf(40).vtcr;
const PAGE_BITS = 0x0040_0000_0000_07ffn;
const frame = (index: number): bigint => BigInt(GUEST_RAM_BASE + index * FRAME_BYTES);
const flushPage = (address: Ipa = AT, level: Level = 3): Stage2Command => ({
  kind: TlbiKind.ipa,
  vmid: VMID,
  ipa: address,
  level,
});

/** One page at `AT`, frame 5, and the words of its entry. */
class Bench {
  readonly machine: TinyMachine;
  readonly root: number;
  readonly entry: Word;

  constructor(cpus = 1) {
    this.machine = new TinyMachine({ cpus });
    const { tables } = this.machine.main.memory;
    this.root = drive(tables.zallocContiguous(2));
    const { table, index } = this.machine.plant(this.root, 1, AT, 3, frame(5) | PAGE_BITS);
    this.entry = tables.wordOf(table as never) + index * 8;
  }

  cpu(agent: TinyAgent = this.machine.main, id = 0): Cpu {
    const cpu = agent.cpu(id);
    cpu.load({ vtcr: VTCR, vttbr: encodeVttbr(this.root as never, VMID) });
    return cpu;
  }

  wordOf(index: number): Word {
    return this.machine.main.memory.wordOf(Number(frame(index)) as never);
  }

  get mark(): Word {
    return this.machine.markers[0] as Word;
  }
}

const until = (agent: number, is: (pending: Pending) => boolean): ScriptLine => ({
  agent,
  until: is,
});
const toEnd = (agent: number): ScriptLine => ({ agent, toEnd: true });

/** The moments of a run that matter here, as words. */
function story(seen: readonly Seen[], mark: Word): string[] {
  return seen.flatMap(({ agent, kind, at }) => {
    if (kind === EventKind.tlbi) return [`${agent} posts`];
    if (kind === EventKind.tlbiPerformed) return [`${agent} performs`];
    if (kind === EventKind.dsbComplete) return [`${agent} goes on`];
    if (kind === EventKind.guestAccess) return [`${agent} accesses`];
    return kind === EventKind.store32 && at === mark ? [`${agent} marks`] : [];
  });
}

function issue(bench: Bench): () => Op<void> {
  return function* () {
    const { interconnect } = bench.machine.agent();
    yield* interconnect.tlbi(flushPage());
    yield* interconnect.dsbIsh();
  };
}

describe('a DSB', () => {
  test('waits for a CPU in guest mode until it is at its boundary', () => {
    const bench = new Bench();
    const guest = function* (): Op<void> {
      const cpu = bench.cpu(bench.machine.agent());
      yield* cpu.enterGuest();
      yield* cpu.access(AT, 'read');
      yield* store32(bench.mark, 1, Order.once);
      yield* cpu.access(AT, 'read');
      yield* cpu.leaveGuest();
    };
    const script = [until(0, ({ at }) => at === bench.mark), toEnd(1), toEnd(0)];
    const { result, seen } = bench.machine.run([guest, issue(bench)], new Scripted(script));
    expect(result).toMatchObject({ outcome: 'completed' });
    expect(story(seen, bench.mark)).toEqual([
      '0 accesses',
      '1 posts',
      '0 marks',
      '0 performs',
      '0 accesses',
      '1 goes on',
    ]);
  });

  test('waits no longer once the CPU has left the guest', () => {
    const bench = new Bench();
    const guest = function* (): Op<void> {
      const cpu = bench.cpu(bench.machine.agent());
      yield* cpu.enterGuest();
      yield* cpu.access(AT, 'read');
      yield* store32(bench.mark, 1, Order.once);
      yield* cpu.leaveGuest();
    };
    const script = [until(0, ({ at }) => at === bench.mark), toEnd(1), toEnd(0)];
    const { result, seen } = bench.machine.run([guest, issue(bench)], new Scripted(script));
    expect(result).toMatchObject({ outcome: 'completed' });
    expect(story(seen, bench.mark)).toEqual(['0 accesses', '1 posts', '0 marks', '1 goes on']);
  });

  test('does not wait for a CPU in the host, which performs before its first access', () => {
    const bench = new Bench();
    const guest = function* (): Op<void> {
      const cpu = bench.cpu(bench.machine.agent());
      yield* store32(bench.mark, 1, Order.once);
      yield* cpu.enterGuest();
      yield* cpu.access(AT, 'read');
      yield* cpu.leaveGuest();
    };
    const { result, seen } = bench.machine.run([guest, issue(bench)], new Scripted([toEnd(1)]));
    expect(result).toMatchObject({ outcome: 'completed' });
    expect(story(seen, bench.mark)).toEqual([
      '1 posts',
      '1 goes on',
      '0 marks',
      '0 performs',
      '0 accesses',
    ]);
  });

  test('waits for each CPU, and none that has performed', () => {
    const bench = new Bench(2);
    const guest = (id: number) =>
      function* (): Op<void> {
        const cpu = bench.cpu(bench.machine.agent(), id);
        yield* cpu.enterGuest();
        yield* cpu.access(AT, 'read');
        yield* store32(bench.mark, 1, Order.once);
        yield* cpu.access(AT, 'read');
        yield* store32(bench.mark, 2, Order.once);
        yield* cpu.leaveGuest();
      };
    const atMark = ({ at }: Pending): boolean => at === bench.mark;
    const answer1 = bench.machine.main.interconnect.answerOf(1);
    const script = [
      until(0, atMark),
      until(1, atMark),
      until(2, ({ kind }) => kind === EventKind.barrier),
      // Only CPU 0 performs before the DSB begins: it waits for CPU 1 alone.
      { agent: 0, steps: 1 },
      until(0, atMark),
      toEnd(2),
      { agent: 1, steps: 1 },
      until(1, atMark),
      toEnd(2),
    ];
    const scheduler = new Scripted(script);
    const { result, seen } = bench.machine.run([guest(0), guest(1), issue(bench)], scheduler);
    expect(result).toMatchObject({ outcome: 'completed' });
    expect(scheduler.linesDone).toBe(script.length);
    const waits = seen.filter((e) => e.agent === 2 && e.kind === EventKind.wait);
    expect(waits.map((e) => e.at)).toEqual([answer1]);
    expect(story(seen, bench.mark).slice(2)).toEqual([
      '2 posts',
      '0 marks',
      '0 performs',
      '0 accesses',
      '1 marks',
      '1 performs',
      '1 accesses',
      '2 goes on',
      '0 marks',
      '1 marks',
    ]);
  });

  test('waits for its own TLBIs only', () => {
    const bench = new Bench();
    const guest = function* (): Op<void> {
      const cpu = bench.cpu(bench.machine.agent());
      yield* cpu.enterGuest();
      yield* store32(bench.mark, 1, Order.once);
      yield* cpu.leaveGuest();
    };
    const post = function* (): Op<void> {
      yield* bench.machine.agent().interconnect.tlbi(flushPage());
    };
    const sync = function* (): Op<void> {
      yield* bench.machine.agent().interconnect.dsbIsh();
    };
    const script = [until(0, ({ at }) => at === bench.mark), toEnd(1), toEnd(2)];
    const { seen } = bench.machine.run([guest, post, sync], new Scripted(script));
    expect(story(seen, bench.mark)).toEqual(['1 posts', '2 goes on', '0 marks']);
  });

  test('is a barrier of its kind', () => {
    const bench = new Bench();
    const seen = bench.machine.alone(() => bench.machine.agent().interconnect.dsbIsh());
    const barriers = seen.filter((e) => e.kind === EventKind.barrier);
    expect(barriers.map((e) => e.extra)).toEqual([Barrier.dsbIsh]);
  });
});

describe('answers', () => {
  test('cover the commands up to their number', () => {
    const answer = answerAfter(7);
    expect([6, 7, 8].map((sequence) => hasPerformed(answer, sequence))).toEqual([
      true,
      true,
      false,
    ]);
  });

  test('of a CPU in guest mode are never the answer of the host', () => {
    expect([0, 0x7fff_ffff, -0x8000_0000, -1].map((n) => answerAfter(n) === 0)).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });

  test.each([0x3fff_fffe, 0x7fff_fffe, -2])('compare across the wrap at %d', (sequence) => {
    for (let ahead = 0; ahead < 4; ahead++) {
      const later = (sequence + ahead) | 0;
      expect(hasPerformed(answerAfter(later), sequence)).toBe(true);
      expect(hasPerformed(answerAfter(sequence), later)).toBe(ahead === 0);
    }
  });
});

/** A CPU that has cached its page, with `posts` TLBIs of other pages before it. */
function behind(posts: number): { readonly bench: Bench; readonly cpu: Cpu } {
  const bench = new Bench();
  const cpu = bench.cpu();
  drive(cpu.access(AT, 'read'));
  for (let i = 0; i < posts; i++) {
    drive(bench.machine.main.interconnect.tlbi(flushPage(ipa(0x8000_0000 + i * 4096))));
  }
  return { bench, cpu };
}

describe('the ring', () => {
  test('gives back each command as it was posted', () => {
    const { main } = new TinyMachine();
    const commands: readonly TlbiCommand[] = [
      flushPage(),
      { kind: TlbiKind.ipa, vmid: 0xffff as Vmid, ipa: ipa(2 ** 52 - 4096), level: NO_HINT },
      { kind: TlbiKind.ipa, vmid: 0x8001 as Vmid, ipa: ipa(0x8000_0000 * 4096), level: 1 },
      { kind: TlbiKind.vmid, vmid: 2 as Vmid, ipa: ipa(0), level: NO_HINT },
      { kind: TlbiKind.all, vmid: 0 as Vmid, ipa: ipa(0), level: NO_HINT },
      { kind: TlbiKind.stage1, vmid: 0xffff as Vmid, va: 0 as Va, asid: 0 as Asid },
      { kind: TlbiKind.va, vmid: 1 as Vmid, va: (2 ** 48 - 4096) as Va, asid: 0xff as Asid },
      { kind: TlbiKind.va, vmid: 0x8000 as Vmid, va: (2 ** 43) as Va, asid: 0x80 as Asid },
      { kind: TlbiKind.asid, vmid: 7 as Vmid, va: 0 as Va, asid: 1 as Asid },
    ];
    for (const command of commands) drive(main.interconnect.tlbi(command));
    const found = commands.map((_, sequence) => drive(main.interconnect.read(sequence)));
    expect(found).toEqual(commands);
  });

  test('counts what was issued by kind', () => {
    const machine = new TinyMachine();
    const { ipa: one, vmid: some, all: every } = TlbiKind;
    for (const kind of [one, some, one, every, one, some])
      drive(machine.main.interconnect.tlbi({ ...flushPage(), kind }));
    const shared = { vmid: 1 as Vmid, va: 0 as Va, asid: 0 as Asid };
    for (const kind of [TlbiKind.va, TlbiKind.stage1])
      drive(machine.main.interconnect.tlbi({ ...shared, kind }));
    const { byIpa, vmid, all, local, stage1 } = STATISTICS.tlbi;
    expect([byIpa, vmid, all, local, stage1].map((at) => machine.counter(at))).toEqual([
      3, 2, 1, 0, 2,
    ]);
  });

  test('publishes in order: the second poster waits for the first', () => {
    const bench = new Bench();
    const post = (level: Level) =>
      function* (): Op<void> {
        yield* bench.machine.agent().interconnect.tlbi(flushPage(AT, level));
      };
    const { claimed, posted } = bench.machine.interconnect;
    // Agent 0 has claimed place 0 and not written it when agent 1 is all done but for publishing.
    const script = [until(0, ({ at }) => at === claimed), { agent: 0, steps: 1 }, toEnd(1)];
    const { result, seen } = bench.machine.run([post(1), post(2)], new Scripted(script));
    expect(result).toMatchObject({ outcome: 'completed' });
    const published = seen.filter((e) => e.kind === EventKind.signal && e.at === posted);
    expect(published.map((e) => [e.agent, e.lo])).toEqual([
      [0, 1],
      [1, 2],
    ]);
    expect(countOf(seen, EventKind.wait, 1)).toBe(1);
    expect([0, 1].map((n) => drive(bench.machine.main.interconnect.read(n)))).toMatchObject([
      { level: 1 },
      { level: 2 },
    ]);
  });

  test.each([
    [1, 0],
    [RING_COMMANDS - 1, 0],
    [RING_COMMANDS + 1, 3],
    [300, 3],
    [2 * RING_COMMANDS + 5, 3],
  ])('a CPU %d commands behind loads %d entries', (posts, loads) => {
    const { bench, cpu } = behind(posts);
    const seen = bench.machine.alone(function* () {
      expect(yield* cpu.access(AT, 'read')).toBe(bench.wordOf(5));
    });
    expect(descriptorLoads(bench.machine, seen)).toBe(loads);
    const performed = seen.filter((e) => e.kind === EventKind.tlbiPerformed);
    expect(performed.map((e) => e.lo)).toEqual([posts]);
  });

  test('a CPU that dropped everything is up to date', () => {
    const { bench, cpu } = behind(300);
    drive(cpu.access(AT, 'read'));
    const seen = bench.machine.alone(function* () {
      yield* cpu.access(AT, 'read');
    });
    expect(descriptorLoads(bench.machine, seen)).toBe(0);
    expect(countOf(seen, EventKind.tlbiPerformed)).toBe(0);
  });

  test('a command overwritten before it was read is not lost', () => {
    const bench = new Bench();
    const cpu = bench.cpu();
    drive(cpu.access(AT, 'read'));
    // The oldest command is the one that matters. The ring is full but for one place.
    drive(bench.machine.main.interconnect.tlbi(flushPage()));
    for (let i = 2; i < RING_COMMANDS; i++) {
      drive(bench.machine.main.interconnect.tlbi(flushPage(ipa(0x8000_0000 + i * 4096))));
    }
    const post = function* (): Op<void> {
      yield* bench.machine.agent().interconnect.tlbi(flushPage(ipa(0xc000_0000)));
    };
    const guest = function* (): Op<void> {
      yield* cpu.access(AT, 'read');
    };
    const { claimed } = bench.machine.interconnect;
    // Agent 0 claims the last place and stops. Agent 1 writes over the oldest command, and waits for agent 0 to publish. The CPU
    // sees one less than a full ring.
    const script = [
      until(0, ({ at }) => at === claimed),
      { agent: 0, steps: 1 },
      toEnd(1),
      toEnd(2),
    ];
    const { result, seen } = bench.machine.run([post, post, guest], new Scripted(script));
    expect(result).toMatchObject({ outcome: 'completed' });
    expect(countOf(seen, EventKind.wait, 1)).toBe(1);
    const performed = seen.filter((e) => e.kind === EventKind.tlbiPerformed);
    expect(performed.map((e) => e.lo)).toEqual([RING_COMMANDS - 1]);
    expect(descriptorLoads(bench.machine, seen, 2)).toBe(3);
  });
});

/** The guest's load: after its boundary and before the next one. False after a fault. */
function* read(cpu: Cpu): Op<boolean> {
  const at = yield* cpu.access(AT, 'read');
  if (at === FAULTED) return false;
  yield* load32(at, Order.once);
  return true;
}

describe('a page moved by break-before-make', () => {
  interface Twin {
    readonly tlbi: boolean;
    readonly dsb: boolean;
  }

  const NEW = new Descriptor(Number(BigInt.asIntN(32, frame(6) | PAGE_BITS)), 0x40_0000);

  /** Loads of the moved page through the old frame after the new entry was stored; and what the seed was good for. */
  function moved(bench: Bench, twin: Twin, seed: number) {
    const { machine, entry } = bench;
    machine.memory.restore();
    const mover = function* (): Op<void> {
      const { interconnect } = machine.agent();
      // Seeds differ in how far the guest has come.
      for (let i = 0; i < seed % 24; i++) yield* load32(bench.mark, Order.once);
      yield* storeDescriptor(entry, new Descriptor(0, 0), Order.once);
      yield* barrier(Barrier.dsbIshst);
      if (twin.tlbi) yield* interconnect.tlbi(flushPage());
      if (twin.dsb) yield* interconnect.dsbIsh();
      yield* storeDescriptor(entry, NEW, Order.release);
      yield* store32(bench.mark, 1, Order.release);
    };
    const guest = function* (): Op<void> {
      const cpu = bench.cpu(machine.agent());
      for (let round = 0; round < 3; round++) {
        yield* cpu.enterGuest();
        for (let i = 0; i < 2; i++) {
          if (!(yield* read(cpu))) break;
        }
        yield* cpu.leaveGuest();
      }
      // From here on the page has moved for sure.
      while ((yield* load32(bench.mark, Order.acquire)) === 0);
      yield* cpu.enterGuest();
      yield* read(cpu);
      yield* cpu.leaveGuest();
    };
    const { result, seen } = machine.run([guest, mover], new RandomScheduler(seed));
    expect(result).toMatchObject({ outcome: 'completed' });
    const made = seen.findIndex(
      (e) => e.kind === EventKind.store64 && e.at === entry && e.lo === NEW.lo,
    );
    const isRead = (frameNumber: number) => (e: Seen) =>
      e.kind === EventKind.load32 && e.at === bench.wordOf(frameNumber);
    return {
      stale: seen.slice(made).filter(isRead(5)).length,
      isFresh: seen.slice(made).some(isRead(6)),
      usedOld: seen.slice(0, made).some(isRead(5)),
      waited: countOf(seen, EventKind.wait, 1) > 0,
    };
  }

  function over(seeds: number, twin: Twin): ReturnType<typeof moved>[] {
    const bench = new Bench();
    bench.machine.memory.baseline();
    return Array.from({ length: seeds }, (_, seed) => moved(bench, twin, seed));
  }

  test('is seen at its new frame by every access after the DSB', () => {
    const runs = over(1000, { tlbi: true, dsb: true });
    expect(runs.filter((run) => run.stale > 0)).toEqual([]);
    expect(runs.every((run) => run.isFresh)).toBe(true);
    // The schedules are worth something: the old entry was cached, and the DSB had to wait.
    expect(runs.filter((run) => run.usedOld).length).toBeGreaterThan(300);
    expect(runs.filter((run) => run.waited).length).toBeGreaterThan(100);
  });

  test('is seen at its old frame for some seed without the DSB', () => {
    const runs = over(200, { tlbi: true, dsb: false });
    expect(runs.some((run) => run.stale > 0)).toBe(true);
  });

  test('is seen at its old frame for some seed without the TLBI', () => {
    const runs = over(200, { tlbi: false, dsb: true });
    expect(runs.some((run) => run.stale > 0)).toBe(true);
  });
});
