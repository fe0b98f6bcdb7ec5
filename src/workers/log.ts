/**
 * The log of acknowledged accesses: what each vCPU did to each page, written by that vCPU after the access completed. From it,
 * from the slots and from host memory the reference of a run is built; never from stage-2 entries.
 */
import { read32, write32, type Word } from '#port';
import { LOG_ENTRY_BYTES, type Layout } from './layout.ts';

const FIELD = { sequence: 0, protectEpoch: 4, discardEpoch: 8, exec: 12, logEpoch: 16 } as const;

/** One page's entry, epochs as of the last access. */
export interface LogEntry {
  /** Sequence of the last write since the page was last discarded; 0 if there was none. */
  readonly sequence: number;
  /** Write-protections begun when that write was acknowledged. */
  readonly protectEpoch: number;
  /** Dirty logs that had begun before that write. */
  readonly logEpoch: number;
  readonly executed: boolean;
}

/** A vCPU's log. Entries of an earlier discard epoch count as empty. */
export class AccessLog {
  readonly #base: Word;

  constructor(layout: Layout, vcpu: number) {
    this.#base = layout.log + vcpu * layout.pages * LOG_ENTRY_BYTES;
  }

  /** Notes an access to `page`. `sequence` is that of a write, 0 otherwise. */
  note(
    page: number,
    access: {
      sequence: number;
      executed: boolean;
      protectEpoch: number;
      logEpoch: number;
      discardEpoch: number;
    },
  ): void {
    const at = this.#base + page * LOG_ENTRY_BYTES;
    if (read32(at + FIELD.discardEpoch) !== access.discardEpoch + 1) {
      write32(at + FIELD.discardEpoch, access.discardEpoch + 1);
      write32(at + FIELD.sequence, 0);
      write32(at + FIELD.exec, 0);
    }
    if (access.executed) write32(at + FIELD.exec, 1);
    if (access.sequence === 0) return;
    write32(at + FIELD.sequence, access.sequence);
    write32(at + FIELD.protectEpoch, access.protectEpoch);
    write32(at + FIELD.logEpoch, access.logEpoch);
  }

  /** Sequence of the last acknowledged write to `page` in this discard epoch, or 0. */
  lastWrite(page: number, discardEpoch: number): number {
    const at = this.#base + page * LOG_ENTRY_BYTES;
    return read32(at + FIELD.discardEpoch) === discardEpoch + 1 ? read32(at + FIELD.sequence) : 0;
  }

  /** The entry, or null if the vCPU did not access the page in this discard epoch. */
  entry(page: number, discardEpoch: number): LogEntry | null {
    const at = this.#base + page * LOG_ENTRY_BYTES;
    if (read32(at + FIELD.discardEpoch) !== discardEpoch + 1) return null;
    return {
      sequence: read32(at + FIELD.sequence),
      protectEpoch: read32(at + FIELD.protectEpoch),
      logEpoch: read32(at + FIELD.logEpoch),
      executed: read32(at + FIELD.exec) !== 0,
    };
  }
}
