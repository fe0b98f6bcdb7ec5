/** A stage-2 table of any granule under the legacy code, and a reader of its own for what the table holds. */
import { EventKind } from '../../../src/engine/events.ts';
import { drive, type Op } from '../../../src/engine/explore.ts';
import { Barrier } from '../../../src/engine/port.ts';
import type { Phys } from '../../../src/machine/address.ts';
import { Descriptor } from '../../../src/machine/descriptor.ts';
import { ARMV8_0, type MachineFeatures } from '../../../src/machine/features.ts';
import type { FrameZone } from '../../../src/machine/frames.ts';
import { legacyFault, type LegacyFault } from '../../../src/pgtable/legacy/fault.ts';
import { isExecutable } from '../../../src/pgtable/legacy/leaf.ts';
import { setHuge } from '../../../src/pgtable/legacy/set-huge.ts';
import { setPte, type PteRequest } from '../../../src/pgtable/legacy/set-pte.ts';
import { legacyUnmap } from '../../../src/pgtable/legacy/unmap.ts';
import type { Outcome } from '../../../src/pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../../src/pgtable/pgtable.ts';
import { stage2Config, stage2Init } from '../../../src/pgtable/stage2-init.ts';
import { TinyMachine, descriptorLoads, geometryOf, must } from '../../support/tiny-machine.ts';
import { LimitedCache, RecordingOps, RW, type Contents, type Leaf } from '../helpers.ts';

export interface LegacyOptions {
  readonly shift?: number;
  readonly ipaBits?: number;
  readonly features?: Partial<MachineFeatures>;
  readonly cachePages?: number;
}

const TABLE_FRAMES = 40;

export class LegacyTable {
  readonly page: number;
  readonly machine: TinyMachine;
  readonly zone: FrameZone;
  readonly ops: RecordingOps;
  readonly pgt: Stage2Pgtable;
  readonly cache: LimitedCache;
  readonly #shift: number;

  constructor(options: LegacyOptions = {}) {
    const { shift = 12, ipaBits = 40, cachePages = TABLE_FRAMES } = options;
    this.#shift = shift;
    this.page = 2 ** shift;
    this.machine = new TinyMachine({ tableFrames: TABLE_FRAMES, tableBytes: this.page });
    this.zone = this.machine.main.memory.tables;
    this.ops = new RecordingOps(this.zone);
    const features = { ...ARMV8_0, ...options.features };
    const config = stage2Config(geometryOf(shift, ipaBits), ipaBits, features);
    this.pgt = drive(stage2Init(config, this.ops));
    this.cache = new LimitedCache(this.zone, cachePages);
    this.ops.log.length = 0;
  }

  /** Bytes of an entry: `shift(L) = (4 - L) * (P - 3) + 3`. */
  sizeOf(level: number): number {
    return 2 ** ((4 - level) * (this.#shift - 3) + 3);
  }

  /** The value of a leaf at `level`. */
  leafOf(level: 1 | 2 | 3, phys: number, prot: number = RW): Descriptor {
    const attributes = this.pgt.attributes.encode(prot);
    if (attributes === null) throw new Error(`prot ${prot}`);
    return Descriptor.leaf(this.pgt.geometry, phys as Phys, level, attributes);
  }

  setPte(ipa: number, phys: number, prot: number = RW, also: Partial<PteRequest> = {}): Outcome {
    const leaf = this.leafOf(3, phys, prot);
    const plain = { logging: false, isIoremap: false, cache: this.cache };
    return drive(setPte(this.pgt, { ...plain, ipa, leaf, ...also }));
  }

  setHuge(ipa: number, level: 1 | 2, phys: number, prot: number = RW): Outcome {
    const leaf = this.leafOf(level, phys, prot);
    return drive(setHuge(this.pgt, { ipa, leaf, level, cache: this.cache }));
  }

  faulting(fault: Partial<LegacyFault>): Op<Outcome> {
    const plain: LegacyFault = {
      ipa: 0,
      size: this.page,
      frame: 0x8000_0000 as Phys,
      isExec: false,
      isPermission: false,
      isWritable: true,
      logging: false,
      isDevice: false,
      dic: false,
      cache: this.cache,
    };
    return legacyFault(this.pgt, { ...plain, ...fault });
  }

  fault(fault: Partial<LegacyFault>): Outcome {
    return drive(this.faulting(fault));
  }

  isExecutable(ipa: number, size: number): boolean {
    return drive(isExecutable(this.pgt, ipa, size));
  }

  unmap(ipa: number, size: number): void {
    drive(legacyUnmap(this.pgt, ipa, size));
  }

  /** The log since the last call: everything but walks and barriers. */
  logged(): string[] {
    const quiet = new Set(['begin', 'end', 'publish']);
    return this.ops.log.splice(0).filter((line) => !quiet.has(line));
  }

  /** Walks since the last call of this or {@link logged}; checks that none began inside another. */
  walks(): number {
    const brackets = this.ops.log.splice(0).filter((line) => line === 'begin' || line === 'end');
    must(
      brackets.every((line, i) => line === (i % 2 === 0 ? 'begin' : 'end')),
      `walks: ${brackets.join(' ')}`,
    );
    return brackets.length / 2;
  }

  /** Entry loads, and entry stores with the DSB ISHSTs behind them, of an operation. */
  eventsOf(op: () => Op<unknown>): { readonly loads: number; readonly order: readonly string[] } {
    const { contents, frames, frameBytes } = this.zone.layout;
    const seen = this.machine.alone(function* () {
      yield* op();
    });
    const order = seen.flatMap(({ kind, at, lo, extra }) => {
      const isEntry = at >= contents && at < contents + frames * frameBytes;
      if (kind === EventKind.store64 && isEntry) return [lo === 0 ? 'clear' : 'set'];
      if (kind !== EventKind.barrier) return [];
      if (extra === Barrier.dsbIshst) return ['publish'];
      return extra === Barrier.dsbIsh ? ['tlbi'] : [];
    });
    return { loads: descriptorLoads(this.machine, seen), order };
  }

  /** Leaves in ascending order, and the valid entries of each table page, as they stand. */
  contents(): Contents {
    const leaves: Leaf[] = [];
    const counted = new Map<number, number>();
    const scan = (table: number, level: number, base: number): void => {
      let valid = 0;
      for (let index = 0; index < this.page / 8; index++) {
        const at = this.zone.wordOf(table as Phys) + index * 8;
        const lo = this.machine.word(at);
        must((lo & 1) !== 0 || (lo === 0 && this.machine.word(at + 4) === 0), 'a stale entry');
        if ((lo & 1) === 0) continue;
        valid++;
        const value = (BigInt(this.machine.word(at + 4) >>> 0) << 32n) | BigInt(lo >>> 0);
        const addr = base + index * this.sizeOf(level);
        if (level < 3 && (lo & 2) !== 0) scan(oaOf(value), level + 1, addr);
        else leaves.push({ addr, level, value });
      }
      counted.set(table, valid);
    };
    const { pgd, pgdPages, startLevel } = this.pgt;
    const reach = this.sizeOf(startLevel) * (this.page / 8);
    for (let i = 0; i < pgdPages; i++) scan(pgd + i * this.page, startLevel, i * reach);
    return { leaves, counted };
  }

  /** The leaves; checks that references are 1 and one per valid entry, and that no page is lost (section 4.0). */
  leaves(): readonly Leaf[] {
    const { leaves, counted } = this.contents();
    for (const [page, valid] of counted) {
      const count = drive(this.zone.count(page as Phys));
      must(count === 1 + valid, `${count} references, ${valid} entries`);
    }
    must(counted.size === this.inUse(), `${counted.size} of ${this.inUse()} pages in the table`);
    return leaves;
  }

  /** Leaves as words: `level address -> physical address`, and what is allowed. */
  words(): string[] {
    return this.leaves().map(({ addr, level, value }) => {
      const bits = [value & 0x40n, value & 0x80n, ~value & (1n << 54n)];
      const allowed = bits.map((bit, i) => (bit === 0n ? '-' : 'rwx'[i])).join('');
      return `${level} ${addr.toString(16)} -> ${oaOf(value).toString(16)} ${allowed}`;
    });
  }

  /** Table pages handed out. */
  inUse(): number {
    const { used, free } = this.zone.accounts();
    return used - free;
  }
}

function oaOf(value: bigint): number {
  return Number(value & 0xffff_ffff_f000n);
}
