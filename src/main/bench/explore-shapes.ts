/** What `bench explore` explores. */
import { EventDigest, type EventSink } from '../../engine/events.ts';
import { TableChecker } from '../../check/table-checker.ts';
import type { Subject } from '../../explore/subject.ts';
import { LockChecker } from '../../locking/lock-checker.ts';
import { InstallSubject } from '../explore/install-subject.ts';
import { loadTarget } from '../explore/target.ts';

export interface ExploreShape {
  readonly name: string;
  /** vCPUs, or threads of the litmus. */
  readonly vcpus: number;
  /** Executions of a batch: some ten milliseconds. */
  readonly schedules: number;
  /** Without checkers. */
  readonly plain: () => Subject;
  /** With all there are, and the digest of events. */
  readonly checked: () => Subject;
}

export const EXPLORE_SHAPES: readonly ExploreShape[] = [
  installShape(2, 1, 1000),
  installShape(4, 4, 200),
  installShape(8, 16, 25),
  {
    name: 'translation',
    vcpus: 2,
    schedules: 20,
    plain: () => watched(translation(), () => []),
    checked: () => {
      const subject = translation();
      const digest = new EventDigest();
      return watched(subject, () => [digest, ...(subject.sinks ?? [])]);
    },
  },
];

function translation(): Subject {
  return loadTarget('litmus/translation', {}).subjectOf(1);
}

/** Threads, faults of each, executions of a batch. */
function installShape(threads: number, faults: number, schedules: number): ExploreShape {
  return {
    name: `${threads}x${faults}`,
    vcpus: threads,
    schedules,
    plain: () => new InstallSubject({ threads, faults }),
    checked: () => {
      const sinks = [new EventDigest(), new LockChecker(new Map(), []), checkerOfNoTables()];
      return watched(new InstallSubject({ threads, faults }), () => sinks);
    },
  };
}

/** Looks at each event, and none concerns it. */
function checkerOfNoTables(): TableChecker {
  const zone = { base: 0, frameBytes: 4096, frames: 0, contents: 0, meta: 0, metaBytes: 4 };
  return new TableChecker({
    tables: { zone, roots: [], startLevel: 0, rootPages: 1, hasStage1: false, initial: [] },
    cpus: { at: 0, bytes: 4 },
    sharedEdits: 'store',
    names: { agent: String, lock: () => null, entry: () => '' },
  });
}

/** The same subject with other sinks; they are asked for before each execution. */
function watched(subject: Subject, sinksOf: () => readonly EventSink[]): Subject {
  const { words, agents, hasDaemons, locks } = subject;
  return {
    words,
    agents,
    hasDaemons,
    locks,
    get sinks() {
      return sinksOf();
    },
    begin: () => subject.begin(),
    judge: (result) => subject.judge(result),
    finalState: () => subject.finalState(),
  };
}
