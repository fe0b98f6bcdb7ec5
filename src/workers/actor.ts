import type { Op } from '#port';
import type { Phase } from './scenario.ts';

/** What an agent does in a phase; the phases themselves are run by rounds.ts. */
export interface Actor {
  begin(): Op<void>;
  perform(phase: Phase): Op<void>;
  /** After the last phase of all agents. */
  end(): Op<void>;
}
