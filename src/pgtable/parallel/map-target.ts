/** What a map walk writes, and at which levels. */
import type { Phys } from '../../machine/address.ts';
import { Descriptor, type Attributes } from '../../machine/descriptor.ts';
import { LAST_LEVEL, type Geometry } from '../../machine/geometry.ts';
import { isLeafAllowed } from '../leaf-fit.ts';
import type { VisitContext } from '../walker.ts';

export interface MapTarget {
  /** Whether it can be said by one entry of the visited level. Level 3 always can. */
  fits(context: VisitContext): boolean;
  entryFor(context: VisitContext): Descriptor;
}

/** Contiguous memory from `phys` on. Each entry's address follows from its place: one that is skipped does not move the others. */
export class MemoryTarget implements MapTarget {
  readonly #geometry: Geometry;
  readonly #phys: number;
  readonly #attributes: Attributes;

  constructor(geometry: Geometry, phys: Phys, attributes: Attributes) {
    this.#geometry = geometry;
    this.#phys = geometry.pageDown(phys);
    this.#attributes = attributes;
  }

  fits(context: VisitContext): boolean {
    return isLeafAllowed(this.#geometry, context, this.#physOf(context));
  }

  entryFor(context: VisitContext): Descriptor {
    const phys = this.#physOf(context) as Phys;
    return Descriptor.leaf(this.#geometry, phys, context.level, this.#attributes);
  }

  #physOf({ addr, range }: VisitContext): number {
    return this.#phys + (addr - range.start);
  }
}

/** The same in pages only. */
export class PagesTarget extends MemoryTarget {
  override fits({ level }: VisitContext): boolean {
    return level === LAST_LEVEL;
  }
}

/** One software-only entry for each page. */
export class AnnotationTarget implements MapTarget {
  readonly #annotation: Descriptor;

  constructor(annotation: Descriptor) {
    this.#annotation = annotation;
  }

  fits({ level }: VisitContext): boolean {
    return level === LAST_LEVEL;
  }

  entryFor(): Descriptor {
    return this.#annotation;
  }
}
