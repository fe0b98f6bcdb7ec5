/**
 * A device that the kernel emulates, of 32-bit registers that keep what is written: what a guest's interrupt controller is to memory. Accesses of
 * 1 and 2 bytes, and such as are not aligned to their size, read as zero and write nothing.
 */
import { Order, high, load32, load64, store32, store64, type Op, type Word } from '#port';
import type { Ipa } from '../machine/address.ts';
import type { MmioDevice } from './mmio.ts';
import type { RegisterValue } from './registers.ts';

export class RegisterDevice implements MmioDevice {
  readonly ipa: Ipa;
  readonly bytes: number;
  readonly #registers: Word;

  /** `registers`: `bytes` bytes of shared memory, aligned to 8. */
  constructor(options: { readonly ipa: Ipa; readonly bytes: number; readonly registers: Word }) {
    this.ipa = options.ipa;
    this.bytes = options.bytes;
    this.#registers = options.registers;
  }

  *read(offset: number, bytes: number): Op<RegisterValue> {
    if (!isWhole(offset, bytes)) return { lo: 0, hi: 0 };
    const at = this.#registers + offset;
    if (bytes === 4) return { lo: yield* load32(at, Order.once), hi: 0 };
    const lo = yield* load64(at, Order.once);
    return { lo, hi: high() };
  }

  *write(offset: number, bytes: number, { lo, hi }: RegisterValue): Op<void> {
    if (!isWhole(offset, bytes)) return;
    const at = this.#registers + offset;
    if (bytes === 4) yield* store32(at, lo, Order.once);
    else yield* store64(at, lo, hi, Order.once);
  }
}

function isWhole(offset: number, bytes: number): boolean {
  return bytes >= 4 && offset % bytes === 0;
}
