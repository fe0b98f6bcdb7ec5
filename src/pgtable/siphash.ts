/**
 * SipHash-2-4 with a 64-bit result (Aumasson and Bernstein, 2012), as 32-bit halves: what tables are hashed with. The
 * published test vectors are tests.
 */

/** A streaming hash of 64-bit words. */
export class SipHash {
  /** v0..v3 as low, high pairs. */
  readonly #v: Int32Array;
  #words = 0;

  /** `key`: four 32-bit words, k0 low, k0 high, k1 low, k1 high. */
  constructor(key: readonly [number, number, number, number]) {
    const [k0lo, k0hi, k1lo, k1hi] = key;
    this.#v = Int32Array.of(
      k0lo ^ 0x70736575,
      k0hi ^ 0x736f6d65,
      k1lo ^ 0x6e646f6d,
      k1hi ^ 0x646f7261,
      k0lo ^ 0x6e657261,
      k0hi ^ 0x6c796765,
      k1lo ^ 0x79746573,
      k1hi ^ 0x74656462,
    );
  }

  /** Hashes one little-endian 64-bit word. */
  update(lo: number, hi: number): void {
    this.#words++;
    this.#absorb(lo, hi);
  }

  /** Closes the hash over the words so far and up to 7 `rest` bytes; the object is spent. Gives low and high half. */
  finish(rest: readonly number[] = []): readonly [number, number] {
    const last = [0, 0];
    rest.forEach((byte, i) => {
      last[i >> 2] = (last[i >> 2] as number) | (byte << ((i & 3) * 8));
    });
    const length = this.#words * 8 + rest.length;
    this.#absorb(last[0] as number, (last[1] as number) | (length << 24));
    const v = this.#v;
    v[4] = (v[4] as number) ^ 0xff;
    for (let round = 0; round < 4; round++) sipRound(v);
    xor(v, 0, 2);
    xor(v, 0, 4);
    xor(v, 0, 6);
    return [v[0] as number, v[1] as number];
  }

  /** Closes the hash as 16 hexadecimal digits, most significant first. */
  hex(): string {
    const [lo, hi] = this.finish();
    return [hi, lo].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
  }

  #absorb(lo: number, hi: number): void {
    const v = this.#v;
    v[6] = (v[6] as number) ^ lo;
    v[7] = (v[7] as number) ^ hi;
    sipRound(v);
    sipRound(v);
    v[0] = (v[0] as number) ^ lo;
    v[1] = (v[1] as number) ^ hi;
  }
}

function sipRound(v: Int32Array): void {
  add(v, 0, 2);
  add(v, 4, 6);
  rotate(v, 2, 13);
  rotate(v, 6, 16);
  xor(v, 2, 0);
  xor(v, 6, 4);
  rotate(v, 0, 32);
  add(v, 4, 2);
  add(v, 0, 6);
  rotate(v, 2, 17);
  rotate(v, 6, 21);
  xor(v, 2, 4);
  xor(v, 6, 0);
  rotate(v, 4, 32);
}

/** v[a] += v[b], 64 bits. */
function add(v: Int32Array, a: number, b: number): void {
  const lo = ((v[a] as number) >>> 0) + ((v[b] as number) >>> 0);
  v[a] = lo;
  v[a + 1] = (v[a + 1] as number) + (v[b + 1] as number) + (lo > 0xffffffff ? 1 : 0);
}

function xor(v: Int32Array, a: number, b: number): void {
  v[a] = (v[a] as number) ^ (v[b] as number);
  v[a + 1] = (v[a + 1] as number) ^ (v[b + 1] as number);
}

/** v[a] rotated left by `bits`, 1 to 32. */
function rotate(v: Int32Array, a: number, bits: number): void {
  const lo = v[a] as number;
  const hi = v[a + 1] as number;
  if (bits === 32) {
    v[a] = hi;
    v[a + 1] = lo;
    return;
  }
  v[a] = (lo << bits) | (hi >>> (32 - bits));
  v[a + 1] = (hi << bits) | (lo >>> (32 - bits));
}
