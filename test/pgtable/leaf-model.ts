/** A model of a stage-2 table that knows leaves and what the specification says of each operation; no tables, no walks. */
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import {
  foldedAddress,
  leafLevels,
  sizeOf,
  type ShapedLeaf,
  type TableShape,
} from './shaped-table.ts';

const R = 0x40n;
const W = 0x80n;
const SH_INNER = 0x300n;
const AF = 0x400n;
const XN_SHIFT = 53n;

/** What a leaf is, apart from where it leads. `xn`: 0 executable, 1 at EL0 only, 2 not, 3 at EL1 only. */
interface ModelLeaf {
  readonly addr: number;
  readonly level: number;
  readonly bytes: number;
  readonly phys: number;
  readonly type: 'normal' | 'nonCacheable' | 'device';
  permissions: bigint;
  xn: bigint;
  isYoung: boolean;
}

export class LeafModel {
  readonly #shape: TableShape;
  #leaves: ModelLeaf[] = [];

  constructor(shape: TableShape) {
    this.#shape = shape;
  }

  /** All leaves as the table has to have them, in order. */
  all(): ShapedLeaf[] {
    const sorted = this.#leaves.toSorted((a, b) => a.addr - b.addr);
    return sorted.map((leaf) => ({
      addr: leaf.addr,
      level: leaf.level,
      value: this.valueOf(leaf),
    }));
  }

  /** False for a protection that has no encoding: then nothing changes. */
  map(addr: number, size: number, phys: number, prot: number): boolean {
    const form = this.#formOf(prot);
    if (form === null) return false;
    for (let at = addr; at < addr + size;) {
      const to = phys + (at - addr);
      const level = this.#levelFor(at, to, addr + size - at);
      const bytes = sizeOf(this.#shape, level);
      // A block that is asked for in part goes as a whole, a table in the way with all it holds.
      this.unmap(at, bytes);
      this.#leaves.push({ addr: at, level, bytes, phys: to, isYoung: true, ...form });
      at += bytes;
    }
    return true;
  }

  /** Removes each leaf that meets the range, as a whole; gives what has to be cleaned. */
  unmap(addr: number, size: number): string[] {
    const removed = this.#in(addr, size);
    this.#leaves = this.#leaves.filter((leaf) => !removed.includes(leaf));
    return this.#cleans(removed);
  }

  /** What a flush of the range cleans: each leaf that meets it, as a whole. */
  flush(addr: number, size: number): string[] {
    return this.#cleans(this.#in(addr, size));
  }

  wrprotect(addr: number, size: number): void {
    for (const leaf of this.#in(addr, size)) leaf.permissions &= ~W;
  }

  /** False where nothing can be added: execution at one exception level. */
  relax(addr: number, prot: number): boolean {
    if ((prot & (Prot.ux | Prot.px)) !== 0) return false;
    const [leaf] = this.#in(addr, 1);
    if (leaf === undefined) return true;
    leaf.permissions |= permissionsOf(prot);
    if ((prot & Prot.x) !== 0) leaf.xn = 0n;
    return true;
  }

  /** Sets the access flag; gives the leaf as it was, 0 without one. */
  age(addr: number, isYoung: boolean): bigint {
    const [leaf] = this.#in(addr, 1);
    if (leaf === undefined) return 0n;
    const before = this.valueOf(leaf);
    leaf.isYoung = isYoung;
    return before;
  }

  isYoung(addr: number): boolean {
    return this.#in(addr, 1)[0]?.isYoung === true;
  }

  /** Value and level of the leaf at `addr`, in words. */
  leaf(addr: number): string {
    const [leaf] = this.#in(addr, 1);
    return leaf === undefined ? 'nothing' : `${this.valueOf(leaf)} at ${leaf.level}`;
  }

  valueOf(leaf: ModelLeaf): bigint {
    const { fwb, lpa2 } = this.#shape;
    const memAttr = { normal: fwb ? 0x6n : 0xfn, nonCacheable: 0x5n, device: 0x1n }[leaf.type];
    return (
      foldedAddress(this.#shape, leaf.phys) |
      (leaf.level === 3 ? 3n : 1n) |
      (memAttr << 2n) |
      leaf.permissions |
      (lpa2 ? 0n : SH_INNER) |
      (leaf.isYoung ? AF : 0n) |
      (leaf.xn << XN_SHIFT)
    );
  }

  #in(addr: number, size: number): ModelLeaf[] {
    const end = addr + size;
    return this.#leaves
      .filter((leaf) => leaf.addr < end && leaf.addr + leaf.bytes > addr)
      .toSorted((a, b) => a.addr - b.addr);
  }

  /** Whole leaves that a cache may hold and the guest may bypass: Normal Write-Back without FWB. */
  #cleans(leaves: readonly ModelLeaf[]): string[] {
    if (this.#shape.fwb) return [];
    return leaves
      .filter(({ type }) => type === 'normal')
      .map(({ phys, bytes }) => `clean ${phys.toString(16)} ${bytes.toString(16)}`);
  }

  /** The largest leaf that is aligned on both sides and not larger than what is left. */
  #levelFor(addr: number, phys: number, left: number): number {
    const fits = leafLevels(this.#shape).find((level) => {
      const bytes = sizeOf(this.#shape, level);
      return bytes <= left && addr % bytes === 0 && phys % bytes === 0;
    });
    return fits ?? 3;
  }

  #formOf(prot: number): Pick<ModelLeaf, 'type' | 'permissions' | 'xn'> | null {
    const xn = this.#xnOf(prot);
    const isExec = (prot & (Prot.x | Prot.ux | Prot.px)) !== 0;
    const isDevice = (prot & Prot.device) !== 0;
    const isNonCacheable = (prot & Prot.normalNC) !== 0;
    if (xn === null || (isDevice && isNonCacheable)) return null;
    if (isExec && (isDevice || isNonCacheable)) return null;
    const uncached = isDevice ? 'device' : 'nonCacheable';
    const type = isDevice || isNonCacheable ? uncached : 'normal';
    return { type, permissions: permissionsOf(prot), xn };
  }

  #xnOf(prot: number): bigint | null {
    const [el0, el1] = [(prot & Prot.ux) !== 0, (prot & Prot.px) !== 0];
    if ((prot & Prot.x) !== 0 || (el0 && el1)) return 0n;
    if (!el0 && !el1) return 2n;
    if (!this.#shape.xnx) return null;
    return el0 ? 1n : 3n;
  }
}

function permissionsOf(prot: number): bigint {
  return ((prot & Prot.r) === 0 ? 0n : R) | ((prot & Prot.w) === 0 ? 0n : W);
}
