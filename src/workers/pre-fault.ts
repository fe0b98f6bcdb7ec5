/** User space of a vCPU that has KVM map a region before the guest touches it. */
import { count, type Op } from '#port';
import { preFaultMemory, type PreFaultError } from '../kvm/pre-fault.ts';
import type { IpaRange } from '../kvm/range.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import { AgentFailure, type FailureKind } from './failure.ts';
import { STATISTICS } from './statistics.ts';
import type { UserfaultHandler } from './userfaults.ts';
import type { World } from './world.ts';

const FAILURES: Readonly<Record<PreFaultError, FailureKind>> = {
  invalid: 'fault',
  noEntry: 'fault',
  fault: 'fault',
  noMemory: 'noMemory',
  again: 'starved',
};

/** Who asks, and how its user space brings pages. */
export interface PreFaulter {
  readonly vcpu: Vcpu;
  readonly userfaults: UserfaultHandler;
  /** For a failure. */
  readonly who: string;
}

/** Calls until all of the range is mapped; what fails on purpose is tried again. */
export function* preFaultRange(
  { vm, failures }: World,
  { vcpu, userfaults, who }: PreFaulter,
  { ipa, bytes }: IpaRange,
): Op<void> {
  for (let done = 0; done < bytes;) {
    const { struck } = failures;
    const { left, error } = yield* preFaultMemory(vm, vcpu, {
      ipa: ipa + done,
      bytes: bytes - done,
    });
    done = bytes - left;
    const { exit } = vcpu;
    vcpu.exit = null;
    if (exit?.reason === 'memoryFault') {
      count(STATISTICS.exits, 1);
      yield* userfaults.resolveExit(exit.ipa, who);
    } else if (error !== null && failures.struck === struck)
      throw new AgentFailure(FAILURES[error], who);
  }
}
