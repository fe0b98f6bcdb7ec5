import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import {
  Barrier,
  Order,
  barrier,
  drive,
  load32,
  store32,
  store64,
  type Op,
} from '../../src/engine/explore.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { ipa, type Ipa, type Level, type Phys, type Vmid } from '../../src/machine/address.ts';
import { FAULTED, type Cpu } from '../../src/machine/cpu.ts';
import { FRAME_BYTES, GUEST_RAM_BASE } from '../../src/machine/frames.ts';
import { Speculation } from '../../src/machine/speculation.ts';
import { NO_HINT, TlbiKind } from '../../src/machine/tlbi.ts';
import { encodeVttbr } from '../../src/machine/vtcr.ts';
import { TinyMachine, configOf, type TinyAgent } from '../support/tiny-machine.ts';

const VMID = 1 as Vmid;
const AT = ipa(0x4060_3000);
const FAR = ipa(0x8000_0000);
const PAGE_BITS = 0x0040_0000_0000_07ffn;
const BLOCK_BITS = 0x0040_0000_0000_07fdn;
const frame = (index: number): bigint => BigInt(GUEST_RAM_BASE + index * FRAME_BYTES);

/** The bad twin: goes on from what it read, whatever happened since. */
class Careless extends Speculation {
  override mayGoOn(): boolean {
    return true;
  }
}

/** A page at `AT`, and a CPU that runs the guest which has it. */
class Bench {
  readonly machine = new TinyMachine({ guestFrames: 8 });
  readonly root = drive(this.machine.main.memory.tables.zallocContiguous(2));
  readonly table: number;
  readonly cpu: Cpu;
  readonly speculation: Speculation;

  constructor(Kind: typeof Speculation = Speculation) {
    this.table = this.plant(AT, 3, frame(5) | PAGE_BITS);
    this.cpu = this.cpuOf(this.machine.main);
    this.speculation = new Kind(this.machine.main.cpuOptions(0));
    drive(this.cpu.enterGuest());
  }

  cpuOf(agent: TinyAgent): Cpu {
    const cpu = agent.cpu(0);
    cpu.load({ vtcr: configOf(40).vtcr, vttbr: encodeVttbr(this.root, VMID) });
    return cpu;
  }

  plant(address: Ipa, level: Level, leaf: bigint): number {
    return this.machine.plant(this.root, 1, address, level, leaf).table;
  }

  /** So many transitions for `address`. */
  speculate(steps: number, address: Ipa = AT): void {
    for (let i = 0; i < steps; i++) drive(this.speculation.step(address));
  }

  invalidate(level: Level | typeof NO_HINT = 3): Op<void> {
    return this.machine.main.interconnect.tlbi({ kind: TlbiKind.ipa, vmid: VMID, ipa: AT, level });
  }

  /** The CPU's next access boundary. */
  pass(): void {
    drive(this.cpu.access(FAR, 'read'));
  }

  isCached(address: Ipa = AT, level: Level = 3): boolean {
    return this.cpu.tlb.find(address, level, VMID) !== 0;
  }

  wordOf(index: number): number {
    return this.machine.main.memory.wordOf(Number(frame(index)) as Phys);
  }
}

/** Transitions of a walk over three levels: to begin, then a load and a fill at each level. */
const WHOLE_WALK = 7;
const BEFORE_LEAF_FILL = WHOLE_WALK - 1;
/** The table of level 3 is read, and in no walk cache. */
const BEFORE_TABLE_FILL = 4;

describe('a speculative walk', () => {
  test('fills what an access would', () => {
    const bench = new Bench();
    bench.speculate(BEFORE_LEAF_FILL);
    expect(bench.isCached()).toBe(false);
    bench.speculate(1);
    expect(bench.isCached()).toBe(true);
    expect(drive(bench.cpu.access(AT, 'read'))).toBe(bench.wordOf(5));
  });

  test('begins at the table that the walk cache knows', () => {
    const bench = new Bench();
    bench.pass();
    drive(bench.cpu.access((AT + FRAME_BYTES) as Ipa, 'read'));
    bench.speculate(3);
    expect(bench.isCached()).toBe(true);
  });

  test('makes a block known to later lookups', () => {
    const bench = new Bench();
    bench.plant(ipa(0xc000_0000), 2, frame(0) | BLOCK_BITS);
    bench.speculate(5, ipa(0xc000_1000));
    expect(bench.isCached(ipa(0xc000_1000), 2)).toBe(true);
    // The table is gone: only the TLB can answer.
    bench.machine.setEntry(bench.root, 3, 0n);
    expect(drive(bench.cpu.access(ipa(0xc000_1000), 'read'))).toBe(bench.wordOf(1));
  });

  test.each([
    ['an invalid entry', 0n],
    ['a leaf without AF', (frame(5) | PAGE_BITS) & ~0x400n],
  ])('caches nothing of %s, and ends', (_, leaf) => {
    const bench = new Bench();
    bench.plant(AT, 3, leaf);
    bench.speculate(WHOLE_WALK);
    expect(bench.isCached()).toBe(false);
    bench.plant(AT, 3, frame(5) | PAGE_BITS);
    // Tables are cached: what began again is at the leaf after two transitions more.
    bench.speculate(3);
    expect(bench.isCached()).toBe(true);
  });

  test('outside the IPA space does not begin', () => {
    const bench = new Bench();
    bench.speculate(1, ipa(2 ** 40));
    bench.speculate(WHOLE_WALK);
    expect(bench.isCached()).toBe(true);
  });

  test('goes on with the object of another agent', () => {
    const bench = new Bench();
    bench.speculate(3);
    const other = new Speculation(bench.machine.agent().cpuOptions(0));
    for (let i = 3; i < WHOLE_WALK; i++) drive(other.step(FAR));
    expect(bench.isCached()).toBe(true);
  });

  test('is not made in the host, and not continued after it', () => {
    const bench = new Bench();
    bench.speculate(BEFORE_LEAF_FILL);
    drive(bench.cpu.leaveGuest());
    bench.speculate(3);
    expect(bench.isCached()).toBe(false);
    drive(bench.cpu.enterGuest());
    bench.speculate(1);
    expect(bench.isCached()).toBe(false);
  });
});

test('eviction drops the entries of a set', () => {
  const bench = new Bench();
  bench.speculate(WHOLE_WALK);
  for (let set = 0; set < 1024; set++) bench.speculation.evict(set);
  expect(bench.isCached()).toBe(false);
  expect(bench.cpu.walkCache.find(AT, 2, VMID)).toBe(0);
});

/** Whether the page is cached after the TLBI completed; its walk had read the entry before it was broken. */
function raced(Kind: typeof Speculation): boolean {
  const bench = new Bench(Kind);
  bench.speculate(BEFORE_LEAF_FILL);
  bench.plant(AT, 3, 0n);
  drive(bench.invalidate());
  bench.pass();
  drive(bench.machine.main.interconnect.dsbIsh());
  bench.speculate(1);
  return bench.isCached();
}

describe('a fill that races a TLBI', () => {
  test('does not happen', () => {
    expect(raced(Speculation)).toBe(false);
  });

  test('leaves a dead translation if the fill does not look again', () => {
    expect(raced(Careless)).toBe(true);
  });

  test('does not happen after an invalidation of this CPU alone', () => {
    const bench = new Bench();
    bench.speculate(BEFORE_LEAF_FILL);
    drive(bench.cpu.leaveGuest());
    bench.cpu.invalidateLocal({ kind: TlbiKind.vmid, vmid: VMID, ipa: AT, level: NO_HINT });
    drive(bench.cpu.enterGuest());
    bench.speculate(1);
    expect(bench.isCached()).toBe(false);
  });

  test('that is posted and not performed, is undone when it is performed', () => {
    const bench = new Bench();
    bench.speculate(BEFORE_LEAF_FILL);
    drive(bench.invalidate());
    bench.speculate(1);
    expect(bench.isCached()).toBe(true);
    bench.pass();
    expect(bench.isCached()).toBe(false);
  });
});

/** Where an access ends after the table above the page was taken out, and its frame is another table that maps frame 6. */
function afterRemoval(Kind: typeof Speculation, level: Level | typeof NO_HINT): number {
  const bench = new Bench(Kind);
  bench.speculate(BEFORE_TABLE_FILL);
  bench.plant(AT, 2, 0n);
  drive(bench.invalidate(level));
  bench.pass();
  drive(bench.machine.main.interconnect.dsbIsh());
  // The frame is a table of another address by now.
  bench.machine.setEntry(bench.table, (AT / FRAME_BYTES) & 511, frame(6) | PAGE_BITS);
  bench.speculate(1);
  return drive(bench.cpu.access(AT, 'read'));
}

describe('a walk-cache entry of a freed table', () => {
  test('is not made once the TLBI completed', () => {
    expect(afterRemoval(Speculation, NO_HINT)).toBe(FAULTED);
  });

  test('leads into the freed table if the fill does not look again', () => {
    expect(afterRemoval(Careless, NO_HINT)).toBe(new Bench().wordOf(6));
  });

  test.each([
    ['is not loaded from', Speculation, 0],
    ['is, if the walk does not look again', Careless, 1],
  ])('%s by a walk that came to it before', (_, Kind, loads) => {
    const bench = new Bench(Kind);
    bench.speculate(BEFORE_TABLE_FILL + 1);
    bench.plant(AT, 2, 0n);
    drive(bench.invalidate(NO_HINT));
    bench.pass();
    drive(bench.machine.main.interconnect.dsbIsh());
    const step = (): Op<void> => bench.speculation.step(AT);
    const { seen } = bench.machine.run([step], new RandomScheduler(1));
    expect(seen.filter(({ kind }) => kind === EventKind.load64)).toHaveLength(loads);
  });

  /** The same with the entry cached before: the TLBI has to remove it. */
  test.each([
    ['goes with a TLBI without a hint', NO_HINT, FAULTED],
    ['stays with a hint of the level of the table', 2, new Bench().wordOf(6)],
  ] as const)('%s', (_, level, expected) => {
    const bench = new Bench();
    bench.speculate(BEFORE_TABLE_FILL + 1);
    bench.plant(AT, 2, 0n);
    drive(bench.invalidate(level));
    bench.machine.setEntry(bench.table, (AT / FRAME_BYTES) & 511, frame(6) | PAGE_BITS);
    expect(drive(bench.cpu.access(AT, 'read'))).toBe(expected);
  });
});

describe('a page that is moved while the CPU speculates', () => {
  const SPECULATIONS = 40;

  /** Reads of the old frame after the new one was made the page's. */
  function staleReads(Kind: typeof Speculation, seeds: number): number[] {
    const bench = new Bench(Kind);
    const { machine } = bench;
    const mark = machine.markers[0] as number;
    const { tables } = machine.main.memory;
    const entry = tables.wordOf(bench.table as Phys) + ((AT / FRAME_BYTES) & 511) * 8;
    drive(bench.cpu.leaveGuest());
    machine.memory.baseline();
    return Array.from({ length: seeds }, (_, seed) => {
      machine.memory.restore();
      const guest = function* (): Op<void> {
        const cpu = bench.cpuOf(machine.agent());
        yield* cpu.enterGuest();
        for (let i = 0; i < 40; i++) {
          const at = yield* cpu.access(i % 8 === 7 ? AT : FAR, 'read');
          if (at !== FAULTED) yield* load32(at, Order.once);
        }
        yield* cpu.leaveGuest();
      };
      const daemon = function* (): Op<void> {
        const own = new Kind(machine.agent().cpuOptions(0));
        for (let i = 0; i < SPECULATIONS; i++) {
          yield* own.step(AT);
          // Slow, so that much can happen between a load and its fill.
          for (let j = 0; j < 8; j++) yield* load32(mark, Order.once);
        }
      };
      const mover = function* (): Op<void> {
        const { interconnect } = machine.agent();
        // Seeds differ in how far the walk has come.
        for (let i = 0; i < seed % 48; i++) yield* load32(mark, Order.once);
        yield* store64(entry, 0, 0, Order.once);
        yield* barrier(Barrier.dsbIshst);
        yield* interconnect.tlbi({ kind: TlbiKind.ipa, vmid: VMID, ipa: AT, level: 3 });
        yield* interconnect.dsbIsh();
        yield* store32(mark, 1, Order.release);
      };
      const scheduler = new RandomScheduler(seed);
      const { result, seen } = machine.run([guest, daemon, mover], scheduler);
      expect(result).toMatchObject({ outcome: 'completed' });
      const made = seen.findIndex((e) => e.kind === EventKind.store32 && e.at === mark);
      return seen.slice(made).filter((e) => e.kind === EventKind.load32 && e.at === bench.wordOf(5))
        .length;
    });
  }

  test('is not reached at its old place after the DSB', () => {
    expect(staleReads(Speculation, 500).filter((reads) => reads > 0)).toEqual([]);
  });

  test('is, for some seeds, if fills do not look again', () => {
    expect(staleReads(Careless, 500).filter((reads) => reads > 0).length).toBeGreaterThan(0);
  });
});
