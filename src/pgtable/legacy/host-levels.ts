/** Levels of a host's own table for `vaBits` bits of virtual address. */
export function hostLevels(pageShift: number, vaBits: number): number {
  return Math.ceil((vaBits - pageShift) / (pageShift - 3));
}

/** Bits of address that a table of so many levels reaches with a whole page as its root: at least `vaBits`. */
export function hostReach(pageShift: number, vaBits: number): number {
  return pageShift + hostLevels(pageShift, vaBits) * (pageShift - 3);
}
