/**
 * A vCPU between the host's run queue and its guest (specification sections 5A, 7.1 and 7.4), as the kernel's kvm_arch_vcpu_load and _put and
 * the loop of KVM_RUN have it: load, enter, exit, put.
 */
import type { Op } from '#port';
import type { Cpu } from '../machine/cpu.ts';
import type { Speculation } from '../machine/speculation.ts';

export interface VcpuRun {
  /** The CPU that it runs on, or ran on last. */
  readonly cpu: Cpu;
  /** What that CPU does of its own accord. */
  readonly speculation: Speculation;
  /** Waits for a CPU. Whether it is another one than the last. */
  load(): Op<boolean>;
  /** Gives the CPU up; in the host. */
  put(): Op<void>;
  /** Into the guest, with a VMID that is the VM's alone. */
  enter(): Op<void>;
  /** To the host, where an interrupt that was pending is taken. */
  exit(): Op<void>;
  /** In the guest: whether an interrupt drives the CPU out. */
  isKicked(): Op<boolean>;
  /** Whether another vCPU waits for a CPU. */
  isContended(): Op<boolean>;
}
