/** The twin check itself: two generations' code over a table each, every configuration, and the cases in which both may differ. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drive, read32 } from '../../src/engine/explore.ts';
import type { Ipa, Phys } from '../../src/machine/address.ts';
import type { FrameZone } from '../../src/machine/frames.ts';
import { LegacyStage2 } from '../../src/kvm/legacy/legacy-stage2.ts';
import { RewrittenStage2 } from '../../src/kvm/rewritten-stage2.ts';
import type { FaultMapping, Stage2Operations } from '../../src/kvm/stage2-operations.ts';
import { Stage2Root } from '../../src/kvm/stage2-root.ts';
import { Twin } from '../../src/kvm/twin.ts';
import type { AccessFlagForm } from '../../src/pgtable/digest.ts';
import { digestTable } from '../../src/pgtable/digest.ts';
import { getLeaf, type Leaf } from '../../src/pgtable/get-leaf.ts';
import { setPte } from '../../src/pgtable/legacy/set-pte.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { Descriptor, type Attributes } from '../../src/machine/descriptor.ts';
import { LimitedCache, RW, RecordingOps } from '../pgtable/helpers.ts';
import { TinyMachine, configOf, geometryOf, must } from '../support/tiny-machine.ts';

const rewritten = new RewrittenStage2();
const legacy = new LegacyStage2();

type Access = 'read' | 'write' | 'exec';

interface Shape {
  readonly pageShift: number;
  readonly ipaBits: number;
  readonly accessFlag?: AccessFlagForm;
  readonly live?: Stage2Operations;
  readonly other?: Stage2Operations;
}

/** A guest, its host and both tables, in one thread: faults as the KVM side would resolve them. */
class TwinBench {
  readonly twin: Twin;
  readonly live: Stage2Pgtable;
  readonly cache: LimitedCache;
  readonly zone: FrameZone;
  readonly page: number;
  /** Comparisons that found a difference: a word. */
  readonly differences: number;
  /** Sizes of a mapping, ascending. */
  readonly sizes: readonly number[];
  logging = false;

  constructor(shape: Shape) {
    const { pageShift, ipaBits, accessFlag = 'exact' } = shape;
    const geometry = geometryOf(pageShift, ipaBits);
    this.page = geometry.pageBytes;
    const machine = new TinyMachine({ tableFrames: 96, tableBytes: this.page });
    this.zone = machine.main.memory.tables;
    const config = configOf(ipaBits, geometry);
    const [root, twinRoot, differences] = machine.markers as [number, number, number];
    this.differences = differences;
    this.twin = new Twin({
      live: shape.live ?? rewritten,
      other: shape.other ?? legacy,
      config,
      tables: this.zone,
      root: twinRoot,
      differences,
      accessFlag,
    });
    const zone = this.zone.layout;
    const live = new Stage2Root({ word: root, zone, config, ops: new RecordingOps(this.zone) });
    drive(live.create());
    drive(this.twin.create());
    this.live = drive(live.pgt()) as Stage2Pgtable;
    this.cache = new LimitedCache(this.zone, Infinity);
    const levels = ([3, 2, 1] as const).filter(
      (level) => level >= Math.max(geometry.blockLevelMin, this.live.startLevel),
    );
    this.sizes = levels.map((level) => geometry.sizeOf(level));
  }

  /** Where the memory of an address is: aligned alike, so that any block fits. */
  physOf(ipa: number): Phys {
    return (ipa + 8 * (this.sizes.at(-1) as number)) as Phys;
  }

  leaf(ipa: number, pgt: Stage2Pgtable = this.live): Leaf {
    const leaf = drive(getLeaf(pgt, ipa));
    if (typeof leaf === 'string') throw new Error(leaf);
    return leaf;
  }

  /** One fault as it is: nothing is checked. */
  fault(ipa: number, size: number, what: Partial<FaultMapping>): string {
    const at = ipa - (ipa % size);
    return drive(
      this.twin.faultIn(this.live, {
        ipa: at as Ipa,
        size,
        frame: this.physOf(at),
        isWrite: false,
        isExec: false,
        isPermission: false,
        isDevice: false,
        dic: false,
        isWritable: what.isWrite === true || !this.logging,
        logging: this.logging,
        leafSize: this.live.geometry.sizeOf(this.leaf(ipa).level),
        cache: this.cache,
        ...what,
      }),
    );
  }

  /** An access with the faults it takes; `size` is what the host has behind the address. */
  access(ipa: number, size: number, access: Access): void {
    const isWrite = access === 'write';
    const isExec = access === 'exec';
    for (let faults = 0; faults < 4; faults++) {
      const { entry } = this.leaf(ipa);
      const isLacking = isWrite ? !entry.isWritable() : isExec && !entry.isExecutable();
      if (entry.isValid() && !entry.isYoung()) drive(this.twin.mkyoung(this.live, ipa));
      else if (!entry.isValid() || isLacking) {
        const wanted = this.logging ? this.page : size;
        const isPermission = entry.isValid();
        const outcome = this.fault(ipa, wanted, { isWrite, isExec, isPermission });
        must(outcome === 'ok', outcome);
      } else return;
    }
    throw new Error('the access does not get through');
  }

  digests(): readonly string[] {
    return drive(this.twin.compare(this.live));
  }

  pagesInUse(): number {
    const { used, free } = this.zone.accounts();
    return used - free;
  }
}

function expectEqual(bench: TwinBench): void {
  const [live, twin] = bench.digests();
  expect(twin).toBe(live);
}

interface Command {
  /** `late`: a read fault that another vCPU resolved meanwhile. */
  readonly what: Access | 'late' | 'log' | 'unlog' | 'unmap' | 'wrprotect' | 'age';
  /** Which block-sized region, and where in it, as a share. */
  readonly region: number;
  readonly place: number;
  readonly pages: number;
}

const command: fc.Arbitrary<Command> = fc.record({
  what: fc.constantFrom<Command['what']>(
    'read',
    'write',
    'exec',
    'write',
    'exec',
    'late',
    'log',
    'unlog',
    'unmap',
    'wrprotect',
    'age',
  ),
  region: fc.nat(5),
  place: fc.constantFrom(0, 0.25, 0.5, 1 - 2 ** -20),
  pages: fc.constantFrom(1, 2, 700),
});

/** Regions lie side by side; the host has pages, and blocks of each size, in turn. */
function perform(bench: TwinBench, { what, region, place, pages }: Command): void {
  const { page, sizes, twin, live } = bench;
  const size = sizes[region % sizes.length] as number;
  const reach = sizes.at(-1) as number;
  const first = region * reach;
  const inside = Math.floor((place * Math.max(size, 4 * page)) / page) * page;
  const ipa = first + inside;
  const range = Math.min(pages * page, 6 * reach - ipa);
  if (what === 'log') {
    bench.logging = true;
    drive(twin.wrprotect(live, 0, 6 * reach));
  } else if (what === 'unlog') bench.logging = false;
  else if (what === 'unmap') drive(twin.unmap(live, ipa, range));
  else if (what === 'wrprotect') drive(twin.wrprotect(live, ipa, range));
  else if (what === 'age') drive(twin.mkold(live, ipa, page));
  else if (what === 'late') bench.fault(ipa, bench.logging ? page : size, {});
  else bench.access(ipa, size, what);
}

const SHAPES = [12, 14, 16].flatMap((pageShift) =>
  [36, 40, 48, 52].map((ipaBits): Shape => ({ pageShift, ipaBits })),
);

describe.each(SHAPES)('pages of 2^$pageShift, $ipaBits bits', (shape) => {
  test('equal after every operation, and empty at the end', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 30 }), fc.boolean(), (commands, isSwapped) => {
        const ages = commands.some(({ what }) => what === 'age');
        const [live, other] = isSwapped ? [legacy, rewritten] : [rewritten, legacy];
        const accessFlag = ages ? 'ignored' : 'exact';
        const bench = new TwinBench({ ...shape, live, other, accessFlag });
        for (const each of commands) {
          perform(bench, each);
          expectEqual(bench);
        }
        drive(bench.twin.unmap(bench.live, 0, 6 * (bench.sizes.at(-1) as number)));
        expectEqual(bench);
        expect(bench.pagesInUse()).toBe(2 * bench.live.pgdPages);
      }),
      { seed: 14, numRuns: 4 },
    );
  });
});

const PLAIN: Shape = { pageShift: 12, ipaBits: 40 };
const AT = 0x4020_0000;
const PAGE = 0x1000;
const M2 = 0x20_0000;
const G1 = 0x4000_0000;

/** The same fault in both tables with nothing kept out. */
function raw(bench: TwinBench, mapping: Partial<FaultMapping>): boolean {
  const whole: FaultMapping = {
    ipa: AT as Ipa,
    size: PAGE,
    frame: bench.physOf(AT),
    isWrite: false,
    isExec: false,
    isPermission: true,
    isDevice: false,
    dic: false,
    isWritable: false,
    logging: true,
    leafSize: PAGE,
    cache: bench.cache,
    ...mapping,
  };
  drive(rewritten.faultIn(bench.live, whole));
  drive(legacy.faultIn(drive(bench.twin.pgt()), whole));
  const [live, twin] = bench.digests();
  return live === twin;
}

/** A bench after some accesses. */
function after(
  shape: Shape,
  ...accesses: readonly (readonly [number, number, Access])[]
): TwinBench {
  const bench = new TwinBench(shape);
  for (const [ipa, size, access] of accesses) bench.access(ipa, size, access);
  return bench;
}

/** A page whose W and AF went, and a write to it. */
function aged(accessFlag: AccessFlagForm): TwinBench {
  const bench = after({ ...PLAIN, accessFlag }, [AT, PAGE, 'read']);
  drive(bench.twin.wrprotect(bench.live, AT, PAGE));
  drive(bench.twin.mkold(bench.live, AT, PAGE));
  bench.fault(AT, PAGE, { isWrite: true, isPermission: true });
  return bench;
}

describe('where both may differ, and what the check does about it', () => {
  test('1: an exec fault on a writable page while the slot logs', () => {
    const logging = (): TwinBench => {
      const bench = after(PLAIN);
      bench.logging = true;
      bench.access(AT, PAGE, 'write');
      return bench;
    };
    expect(raw(logging(), { isExec: true })).toBe(false);
    const bench = logging();
    bench.access(AT, PAGE, 'exec');
    expectEqual(bench);
    expect(bench.leaf(AT).entry.isWritable()).toBe(true);
  });

  test('2: a page that legacy maps executable, as change_pte does with DIC', () => {
    const bench = after(PLAIN, [AT, PAGE, 'read']);
    const twin = drive(bench.twin.pgt());
    const { geometry, attributes } = twin;
    const to = (prot: number): Descriptor =>
      Descriptor.leaf(geometry, (1 << 30) as Phys, 3, attributes.encode(prot) as Attributes);
    const request = { ipa: AT, cache: null, logging: false, isIoremap: false };
    drive(setPte(twin, { ...request, leaf: to(Prot.r | Prot.x) }));
    const phys = (1 << 30) as Phys;
    drive(stage2Map(bench.live, { ipa: AT, size: PAGE, phys, prot: Prot.r, cache: null }));
    const [one, other] = bench.digests();
    expect(one).not.toBe(other);
    drive(setPte(twin, { ...request, leaf: to(Prot.r) }));
    expectEqual(bench);
  });

  test('3: the access flag of an aged leaf', () => {
    const [live, twin] = aged('exact').digests();
    expect(live).not.toBe(twin);
    expectEqual(aged('ignored'));
  });

  test('4: ioremap over a page', () => {
    const bench = after(PLAIN, [AT, PAGE, 'read']);
    const { geometry, attributes } = bench.live;
    const phys = 0x900_0000 as Phys;
    const prot = RW | Prot.device;
    const leaf = Descriptor.leaf(geometry, phys, 3, attributes.encode(prot) as Attributes);
    const request = { ipa: AT, leaf, cache: bench.cache, logging: false, isIoremap: true };
    expect(drive(setPte(drive(bench.twin.pgt()), request))).toBe('fault');
    const { cache } = bench;
    expect(drive(stage2Map(bench.live, { ipa: AT, size: PAGE, phys, prot, cache }))).toBe('ok');
    const [live, twin] = bench.digests();
    expect(live).not.toBe(twin);
  });

  test('5: a 1G mapping in a table of two levels', () => {
    const bench = new TwinBench({ pageShift: 12, ipaBits: 32 });
    expect(bench.sizes).toEqual([PAGE, M2]);
    const mapping = { ipa: G1 as Ipa, size: G1, frame: G1 as Phys, isPermission: false };
    expect(raw(bench, mapping)).toBe(false);
  });

  test('7: an empty table that running out of pages leaves', () => {
    const bench = new TwinBench(PLAIN);
    const cache = new LimitedCache(bench.zone, 1);
    const mapping = { ipa: AT as Ipa, size: PAGE, frame: bench.physOf(AT), isPermission: false };
    const kind = { isWrite: false, isExec: false, isDevice: false, dic: false };
    const shared = { ...kind, isWritable: true, logging: false };
    const fault = { ...mapping, ...shared, leafSize: PAGE, cache };
    expect(drive(bench.twin.faultIn(bench.live, fault))).toBe('noMemory');
    const [live, twin] = bench.digests();
    expect(live).not.toBe(twin);
    expect(drive(digestTable(bench.live)).tables).toBe(1);
  });

  test('9: a permission fault on a leaf that is gone', () => {
    expect(raw(after(PLAIN), { isWrite: true, isWritable: true, logging: false })).toBe(false);
    const bench = after(PLAIN);
    bench.fault(AT, PAGE, { isWrite: true, isPermission: true });
    expectEqual(bench);
    expect(bench.leaf(AT).entry.isWritable()).toBe(true);
  });

  test('10: a page of an executable block, written while the slot logs', () => {
    const logging = (): TwinBench => {
      const bench = after(PLAIN, [AT, M2, 'exec']);
      bench.logging = true;
      drive(bench.twin.wrprotect(bench.live, AT, M2));
      return bench;
    };
    expect(raw(logging(), { isWrite: true, isWritable: true, leafSize: M2 })).toBe(false);
    const bench = logging();
    bench.access(AT, PAGE, 'write');
    expectEqual(bench);
    expect(bench.leaf(AT).entry.isExecutable()).toBe(false);
  });

  test('a difference is counted', () => {
    const bench = after(PLAIN, [AT, PAGE, 'read']);
    drive(rewritten.unmap(bench.live, AT, PAGE));
    const [live, twin] = bench.digests();
    expect(live).not.toBe(twin);
    expect(read32(bench.differences)).toBe(1);
    drive(bench.twin.unmap(bench.live, AT, PAGE));
    expectEqual(bench);
    expect(read32(bench.differences)).toBe(1);
  });
});
