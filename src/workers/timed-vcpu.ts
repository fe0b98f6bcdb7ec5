/** A vCPU whose guest programs are timed, from the first access to the last, and nothing around them. */
import { now, type Op } from '#port';
import type { Actor } from './actor.ts';
import type { Phase } from './scenario.ts';
import type { VcpuAgent } from './vcpu-agent.ts';

export class TimedVcpu implements Actor {
  readonly #vcpu: VcpuAgent;
  /** Nanoseconds so far. */
  ns = 0;

  constructor(vcpu: VcpuAgent) {
    this.#vcpu = vcpu;
  }

  *begin(): Op<void> {
    yield* this.#vcpu.begin();
  }

  *perform(phase: Phase): Op<void> {
    if (phase.guest === null) return;
    const accesses = this.#vcpu.expand(phase.guest);
    yield* this.#vcpu.enter();
    const since = now();
    yield* this.#vcpu.run(accesses);
    this.ns += now() - since;
    yield* this.#vcpu.leave();
  }

  *end(): Op<void> {
    yield* this.#vcpu.end();
  }
}
