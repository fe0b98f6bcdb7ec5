/** Splitmix32 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014, in its 32-bit form). */

/** The step of the generator's state: the golden ratio. */
export const GOLDEN = 0x9e3779b9;

/** The finaliser: every bit of a state decides about every bit of the result. */
export function mix(state: number): number {
  let z = state | 0;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return z ^ (z >>> 15);
}

/**
 * A seed for another generator: seeds are tried in a row, and the first outputs of xoroshiro128+ for neighbouring seeds are alike
 * (among 4 agents, 1,000 seeds in a row gave 16 different beginnings of 6 steps).
 */
export function scattered(seed: number): number {
  return mix(seed + GOLDEN);
}
