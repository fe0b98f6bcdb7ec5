/** A guest's general registers, as far as an emulated access moves data through them. */

/** 64 bits as two signed halves. */
export interface RegisterValue {
  readonly lo: number;
  readonly hi: number;
}

/** XZR: reads as zero, and a write to it is lost. */
const ZERO_REGISTER = 31;

export class Registers {
  readonly #halves = new Int32Array(2 * ZERO_REGISTER + 2);

  /** `register`: 0 to 31, as SRT names it. */
  read(register: number): RegisterValue {
    const [lo, hi] = this.#halves.subarray(2 * register);
    return { lo: lo as number, hi: hi as number };
  }

  write(register: number, { lo, hi }: RegisterValue): void {
    if (register !== ZERO_REGISTER) this.#halves.set([lo, hi], 2 * register);
  }
}
