/**
 * Invariants 26 and 27, over the events of a run: no two VMs are in their guests with one VMID, and no guest uses a TLB entry that another VM, or
 * another vCPU of its VM, left on the CPU.
 *
 * Not seen: entries of a VM that was torn down and made again in the same words.
 */
import { EventKind, RECORD, type EventSink } from '../../src/engine/events.ts';
import type { Word } from '../../src/engine/port.ts';

/** Who is in the guest on a CPU. */
interface Running {
  /** The VM's VMID word: which VM it is. */
  readonly vm: Word;
  readonly vmid: number;
  readonly vcpu: number;
}

export class VmidChecker implements EventSink {
  /** What was wrong, each thing once. */
  readonly findings: Set<string> = new Set();
  /** How much there was to check. */
  readonly seen: { entries: number; reuses: number; vmids: Set<number> } = {
    entries: 0,
    reuses: 0,
    vmids: new Set(),
  };
  readonly #running: Map<number, Running> = new Map();
  readonly #filler: Map<Word, Running> = new Map();
  readonly #cpuOf: (line: Word) => number;

  /** `cpuOf`: the CPU of a line of its words. */
  constructor(cpuOf: (line: Word) => number) {
    this.#cpuOf = cpuOf;
  }

  /** Another execution begins. */
  begin(): void {
    this.#running.clear();
    this.#filler.clear();
  }

  onEvent(record: Int32Array): void {
    const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
    const at = record[RECORD.location] as number;
    const a = record[RECORD.newLo] as number;
    if (kind === EventKind.guestEnter) this.#enter(at, a, record[RECORD.newHi] as number);
    else if (kind === EventKind.guestExit) this.#running.delete(a);
    else if (kind === EventKind.tlbFill) this.#fill(at, this.#cpuOf(a));
    else if (kind === EventKind.tlbUse) this.#use(at, this.#cpuOf(a));
  }

  #enter(vm: Word, cpu: number, who: number): void {
    const vmid = who & 0xffff;
    const vcpu = who >>> 16;
    this.seen.entries++;
    this.seen.vmids.add(vmid);
    if (vmid === 0) this.findings.add('a guest runs with the VMID of the host');
    for (const other of this.#running.values()) {
      if (other.vmid === vmid && other.vm !== vm) this.findings.add('two VMs have one VMID');
    }
    this.#running.set(cpu, { vm, vmid, vcpu });
  }

  #fill(entry: Word, cpu: number): void {
    const running = this.#running.get(cpu);
    if (running === undefined) this.findings.add('a fill while no guest runs');
    else this.#filler.set(entry, running);
  }

  #use(entry: Word, cpu: number): void {
    const running = this.#running.get(cpu);
    const filler = this.#filler.get(entry);
    if (running === undefined || filler === undefined) return;
    this.seen.reuses++;
    if (filler.vm !== running.vm) this.findings.add("a guest uses another VM's entry");
    else if (filler.vcpu !== running.vcpu) this.findings.add("a vCPU uses another vCPU's entry");
  }
}
