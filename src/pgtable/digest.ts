/**
 * The digest of a table: SipHash over its valid entries in depth-first order, in canonical form (invalid entries as empty, table
 * addresses masked). A function of the translation, not of the history that led to it.
 */
import type { Op } from '#port';
import type { Level } from '../machine/address.ts';
import { Attributes, NO_ATTRIBUTES, S2_LO, type Descriptor } from '../machine/descriptor.ts';
import type { Outcome } from './outcome.ts';
import type { Pgtable } from './pgtable.ts';
import { SipHash } from './siphash.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/** Any fixed key: digests are compared with one another only. */
const KEY = [0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c] as const;
const PAGE_BITS = 12;

const YOUNG: Attributes = new Attributes(S2_LO.AF, 0);

/** Whether the access flag of leaves is part of what is compared. */
export type AccessFlagForm = 'exact' | 'ignored';

/** Accumulates entries given in depth-first order, a table before its children. */
export class TableDigest {
  readonly #hash = new SipHash(KEY);
  readonly #accessFlag: AccessFlagForm;
  /** Leaves seen, per level. */
  readonly leaves: [number, number, number, number] = [0, 0, 0, 0];
  /** Tables seen, the root not counted. */
  tables = 0;

  constructor(accessFlag: AccessFlagForm = 'exact') {
    this.#accessFlag = accessFlag;
  }

  /** Adds a valid entry; `addr` is the first input address that it covers. */
  add(entry: Descriptor, addr: number, level: Level): void {
    if (entry.isTable(level)) this.tables++;
    else this.leaves[level]++;
    const canonical = this.#canonical(entry, level);
    const page = Math.floor(addr / 2 ** PAGE_BITS);
    this.#hash.update(page | 0, (Math.floor(page / 0x1_0000_0000) << 2) | level);
    this.#hash.update(canonical.lo, canonical.hi);
  }

  #canonical(entry: Descriptor, level: Level): Descriptor {
    const canonical = entry.canonical(level);
    const keepsFlag = this.#accessFlag === 'exact' || entry.isTable(level);
    return keepsFlag ? canonical : canonical.withAttributes(YOUNG, NO_ATTRIBUTES);
  }

  /** Sixteen hexadecimal digits; the object is spent. */
  hex(): string {
    return this.#hash.hex();
  }
}

/** Digests the whole table. */
export function* digestTable(pgt: Pgtable, accessFlag?: AccessFlagForm): Op<TableDigest> {
  const visitor = new DigestVisitor(new TableDigest(accessFlag));
  const outcome = yield* walk(pgt, 0, pgt.iaLimit, visitor);
  if (outcome !== 'ok') throw new Error(`digestTable: ${outcome}`);
  return visitor.digest;
}

class DigestVisitor implements Visitor {
  readonly flags = Visit.leaf | Visit.tablePre;
  readonly digest: TableDigest;

  constructor(digest: TableDigest) {
    this.digest = digest;
  }

  *visit(context: VisitContext): Op<Outcome> {
    if (context.old.isValid()) this.digest.add(context.old, context.addr, context.level);
    return 'ok';
  }
}
