/**
 * A workload as something to explore. If its rounds are one phase, run once, that phase is explored alone: set-up happens before, in one
 * fixed order, and there are no barriers. Otherwise all of it is.
 */
import { explore } from '#port';
import { createSharedWorld, verify } from '#unedited';
import type { EventSink } from '../../engine/events.ts';
import type { Word } from '../../engine/port.ts';
import { Execution, type AgentSpec, type ExecutionResult } from '../../engine/execution.ts';
import { RoundRobin } from '../../explore/round-robin.ts';
import { findingsOf, type Finding, type Subject } from '../../explore/subject.ts';
import { Descriptor } from '../../machine/descriptor.ts';
import { AgentFailure } from '../../workers/failure.ts';
import { mainAgent } from '../../workers/layout.ts';
import type { Phase, Scenario } from '../../workers/scenario.ts';
import { runPhase } from '../../workers/single-phase.ts';
import { EventCheckers } from '../event-checkers.ts';
import { agentsOf, agentsOfRun } from '../run-explore.ts';
import { joinSharedWorld, ownMemory, type SharedWorld } from '../shared-world.ts';
import { descriptorText } from './descriptor-text.ts';
import { StuckError, UserError } from '../user-error.ts';
import { findingsIn } from '../violations.ts';
import { VmWords } from './vm-words.ts';

/** Steps after which set-up counts as endless. */
const SETUP_STEPS_MAX = 2_000_000;

export class VmSubject implements Subject {
  readonly words: Int32Array;
  readonly agents: number;
  readonly hasDaemons = false;
  /** Their algorithms are explored by themselves. */
  readonly locks = 'wholes';
  /** For set-up and verification, whose modules are never edited. */
  readonly #outside: SharedWorld;
  /** For the agents, on the same memory. */
  readonly #shared: SharedWorld;
  readonly #checkers: EventCheckers;
  readonly #names: VmWords;
  readonly #seed: number;
  /** The phase that is explored alone, or null. */
  readonly #phase: Phase | null;
  #finalState = '';

  /** @throws UserError if the scenario does not fit, StuckError if its set-up does not end. */
  constructor(scenario: Scenario, seed: number) {
    this.#outside = createSharedWorld(scenario, ownMemory);
    this.#shared = joinSharedWorld(scenario, this.#outside.memory);
    this.#seed = seed;
    this.words = this.#shared.explore.words;
    this.agents = mainAgent(this.#shared.layout);
    const { setup, rounds, ending, repeat } = scenario;
    const isOne = rounds.length === 1 && repeat === 1 && ending.length === 0;
    this.#phase = isOne ? (rounds[0] as Phase) : null;
    if (this.#phase !== null) for (const phase of setup) this.#setUp(phase);
    this.#shared.explore.baseline();
    this.#outside.explore.baseline();
    this.#checkers = new EventCheckers(this.#shared);
    this.#names = new VmWords(this.#shared.layout);
  }

  get sinks(): readonly EventSink[] {
    return this.#checkers.sinks;
  }

  begin(): AgentSpec[] {
    // The verification wrote last, on what the agents left: those pages are saved anew each time.
    this.#outside.explore.restore();
    this.#outside.explore.baseline();
    this.#shared.explore.restore();
    this.#checkers.renew();
    return this.#phase === null
      ? agentsOfRun(this.#shared, this.#seed)
      : this.#agentsOf(this.#phase);
  }

  judge(result: ExecutionResult): readonly Finding[] {
    if (result.outcome === 'completed') return this.#verify();
    return [...this.#checkers.findings, ...this.#endOf(result)];
  }

  #endOf(result: ExecutionResult): readonly Finding[] {
    if (result.outcome !== 'threw' || !(result.error instanceof AgentFailure))
      return findingsOf(result);
    const { kind, message } = result.error;
    if (kind === 'noMemory') throw new UserError(message);
    return [{ verdict: kind, message }];
  }

  /** The digest of the stage-2 table. */
  finalState(): string {
    return this.#finalState;
  }

  nameOf(at: Word): string | null {
    return this.#names.nameOf(at);
  }

  monotone(at: Word): Word | null {
    return this.#names.monotone(at);
  }

  /** Entries of tables are decoded. */
  describe(at: Word, lo: number, hi: number): string | null {
    const { contents, frames, contentBytes } = this.#shared.layout.tableZone;
    if (at < contents || at >= contents + frames * contentBytes) return null;
    const { geometry } = this.#shared.world.vm.parts;
    return descriptorText(new Descriptor(lo, hi), geometry);
  }

  #verify(): Finding[] {
    this.#checkers.finish();
    const verification = verify(this.#outside.worlds);
    this.#finalState = verification.digest;
    return findingsIn(this.#outside, { ...verification, events: this.#checkers.findings });
  }

  /** A phase alone, whose hosts know of no guests before it: those of set-up do not count. */
  #setUp(phase: Phase): void {
    const agents = this.#agentsOf(phase);
    const scheduler = new RoundRobin();
    const result = explore(new Execution({ agents, scheduler, stepsMax: SETUP_STEPS_MAX }));
    if (result.outcome !== 'completed')
      throw new StuckError(`phase ${phase.name}: ${result.detail}`);
    const { guestsFinished, guestProgress } = this.#shared.layout.words;
    for (const at of [guestsFinished, guestProgress]) this.words[at >>> 2] = 0;
  }

  #agentsOf(phase: Phase): AgentSpec[] {
    return agentsOf(this.#shared, (own, agent) => runPhase(own, phase, agent, this.#seed));
  }
}
