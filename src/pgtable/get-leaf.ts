/** Looking up what one address ends at (specification section 4.14). */
import type { Op } from '#port';
import type { Level } from '../machine/address.ts';
import type { Descriptor } from '../machine/descriptor.ts';
import type { Outcome } from './outcome.ts';
import type { Pgtable } from './pgtable.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/** The entry where the walk for an address ends: a leaf, or an invalid entry. */
export interface Leaf {
  readonly entry: Descriptor;
  readonly level: Level;
}

/** What the address ends at, or the outcome of a walk that could not be made. Stage 1 and stage 2 alike. */
export function* getLeaf(pgt: Pgtable, address: number): Op<Leaf | Exclude<Outcome, 'ok'>> {
  const visitor = new LeafVisitor();
  const outcome = yield* walk(pgt, address, 1, visitor);
  if (outcome !== 'ok') return outcome;
  if (visitor.leaf === null) throw new Error('a walk of one byte visited no leaf');
  return visitor.leaf;
}

class LeafVisitor implements Visitor {
  readonly flags = Visit.leaf;
  leaf: Leaf | null = null;

  *visit(context: VisitContext): Op<Outcome> {
    this.leaf = { entry: context.old, level: context.level };
    return 'ok';
  }
}
