/**
 * Combined translations of one CPU: a guest's VA straight to a PA, with the permissions of both stages (Arm ARM D8.13.1). An entry is for
 * 4 KiB, whatever the leaves have, and tagged with VMID and ASID. The IPA in between is kept for events alone: no invalidation looks at it.
 *
 * Direct-mapped; like `TranslationArray` its CPU's agent alone touches it, so its words are plain.
 */
import { read32, write32, type Word } from '#port';
import {
  HIGH_WEIGHT,
  highHalf,
  type Asid,
  type Ipa,
  type Level,
  type Phys,
  type Va,
  type Vmid,
} from './address.ts';
import { MISS } from './translation-array.ts';
import { TlbiKind, type Stage1Command } from './tlbi.ts';

const SETS = 256;
const ENTRY_BYTES = 32;
/** Bytes of one CPU's combined entries: zeroed. */
export const COMBINED_TLB_BYTES: number = SETS * ENTRY_BYTES;

const KEY = 4;
const FRAME = 8;
const LEAF_LO = 12;
const LEAF_HI = 16;
const IPA_PAGE = 20;
const REST = 24;

const VALID = 1;
const GLOBAL = 2;
const VMID_SHIFT = 2;
const VMID_MASK = 0xffff << VMID_SHIFT;
const ASID_SHIFT = 18;
const ASID_MASK = 0xff << ASID_SHIFT;
const PAGE_HI_SHIFT = 26;

const LEVEL_SHIFT = 8;
const STAGE1_LEVEL_SHIFT = 10;
const IPA_PAGE_HI_SHIFT = 16;
const STAGE1_WRITE = 1 << 12;
const STAGE1_EXEC = 1 << 13;
const STAGE1_DIRTIES = 1 << 14;

const PAGE_4K = 4096;
const PAGE_INVERSE = 1 / PAGE_4K;

/** Whose entries a guest may use. */
export interface Context {
  readonly vmid: Vmid;
  readonly asid: Asid;
}

/** Stage 1's part of an entry. */
export interface Stage1Leaf {
  readonly level: Level;
  /** For every ASID (nG clear). */
  readonly isGlobal: boolean;
  readonly isWritable: boolean;
  readonly isExecutable: boolean;
  /** Not writable yet: hardware will make it so at the first write. */
  readonly dirties: boolean;
}

/** Stage 2's part: the leaf, and the 4 KiB that the entry is for. */
export interface Stage2Leaf {
  readonly level: Level;
  readonly lo: number;
  readonly hi: number;
  readonly ipa: Ipa;
  readonly output: Phys;
}

export class CombinedTlb {
  readonly #base: Word;

  /** `base`: {@link COMBINED_TLB_BYTES} zeroed bytes, not at offset 0. */
  constructor(base: Word) {
    this.#base = base;
  }

  /** The entry that translates `va`, or `MISS`. */
  find(va: Va, context: Context): Word {
    const page = Math.floor(va * PAGE_INVERSE);
    const entry = this.#entryOf(page);
    if (read32(entry) !== (page | 0)) return MISS;
    const key = read32(entry + KEY);
    const wanted = keyOf(page, context);
    const isSame = (key & GLOBAL) === 0 ? key === wanted : sameBut(key, wanted, ASID_MASK | GLOBAL);
    return isSame ? entry : MISS;
  }

  /** Caches the translation of the 4 KiB around `va`; evicts whatever shared its set. */
  fill(va: Va, context: Context, stage1: Stage1Leaf, stage2: Stage2Leaf): void {
    const page = Math.floor(va * PAGE_INVERSE);
    const frame = Math.floor(stage2.output * PAGE_INVERSE);
    const ipaPage = Math.floor(stage2.ipa * PAGE_INVERSE);
    const entry = this.#entryOf(page);
    write32(entry, page | 0);
    write32(entry + KEY, keyOf(page, context) | (stage1.isGlobal ? GLOBAL : 0));
    write32(entry + FRAME, frame | 0);
    write32(entry + LEAF_LO, stage2.lo);
    write32(entry + LEAF_HI, stage2.hi);
    write32(entry + IPA_PAGE, ipaPage | 0);
    const flags =
      (stage1.isWritable ? STAGE1_WRITE : 0) |
      (stage1.isExecutable ? STAGE1_EXEC : 0) |
      (stage1.dirties ? STAGE1_DIRTIES : 0);
    const levels = (stage2.level << LEVEL_SHIFT) | (stage1.level << STAGE1_LEVEL_SHIFT);
    const highs = highHalf(frame) | (highHalf(ipaPage) << IPA_PAGE_HI_SHIFT);
    write32(entry + REST, highs | levels | flags);
  }

  /** Stage 1's part of an entry. */
  stage1Of(entry: Word): Stage1Leaf {
    const rest = read32(entry + REST);
    return {
      level: ((rest >>> STAGE1_LEVEL_SHIFT) & 3) as Level,
      isGlobal: (read32(entry + KEY) & GLOBAL) !== 0,
      isWritable: (rest & STAGE1_WRITE) !== 0,
      isExecutable: (rest & STAGE1_EXEC) !== 0,
      dirties: (rest & STAGE1_DIRTIES) !== 0,
    };
  }

  stage2Of(entry: Word): Stage2Leaf {
    const rest = read32(entry + REST);
    return {
      level: ((rest >>> LEVEL_SHIFT) & 3) as Level,
      lo: read32(entry + LEAF_LO),
      hi: read32(entry + LEAF_HI),
      ipa: addressOf(rest >>> IPA_PAGE_HI_SHIFT, read32(entry + IPA_PAGE)) as Ipa,
      output: addressOf(rest, read32(entry + FRAME)) as Phys,
    };
  }

  /** Performs a TLBI that is about stage 1 alone. */
  perform(command: Stage1Command): void {
    if (command.kind === TlbiKind.stage1) this.invalidateVmid(command.vmid);
    else if (command.kind === TlbiKind.asid)
      this.#invalidateWhere(VMID_MASK | ASID_MASK | GLOBAL, keyOf(0, command));
    else {
      const entry = this.find(command.va, command);
      if (entry !== MISS) write32(entry + KEY, 0);
    }
  }

  invalidateVmid(vmid: Vmid): void {
    this.#invalidateWhere(VMID_MASK, keyOf(0, { vmid, asid: 0 as Asid }));
  }

  invalidateAll(): void {
    this.#invalidateWhere(0, VALID);
  }

  /** How many entries there are. For checks while nothing runs. */
  get size(): number {
    const sets = Array.from({ length: SETS }, (_, set) => this.#base + set * ENTRY_BYTES);
    return sets.filter((entry) => (read32(entry + KEY) & VALID) !== 0).length;
  }

  /** Drops the entries whose keys have these bits as in `key`. */
  #invalidateWhere(bits: number, key: number): void {
    for (let set = 0; set < SETS; set++) {
      const entry = this.#base + set * ENTRY_BYTES;
      if (sameBut(read32(entry + KEY), key, ~(bits | VALID))) write32(entry + KEY, 0);
    }
  }

  #entryOf(page: number): Word {
    return this.#base + (page & (SETS - 1)) * ENTRY_BYTES;
  }
}

/** Of a page: the low 8 bits of one half, and the whole of the other. */
function addressOf(pageHi: number, pageLo: number): number {
  return ((pageHi & 0xff) * HIGH_WEIGHT + (pageLo >>> 0)) * PAGE_4K;
}

function keyOf(page: number, { vmid, asid }: Context): number {
  const pageHi = highHalf(page) << PAGE_HI_SHIFT;
  return VALID | (vmid << VMID_SHIFT) | (asid << ASID_SHIFT) | pageHi;
}

/** Whether two keys differ in `ignored` bits at most. */
function sameBut(key: number, other: number, ignored: number): boolean {
  return ((key ^ other) & ~ignored) === 0;
}
