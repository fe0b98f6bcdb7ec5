/**
 * Every single control word of a run: who owns it, who writes it, what it means. Structures of many words (locks, rings, tables of
 * frames) are placed by layout.ts and described where their code is.
 */

/** One word; `monotone`: its value only grows (modulo 2^32). */
export interface WordSpec {
  readonly owner: string;
  readonly writers: string;
  readonly meaning: string;
  readonly monotone: boolean;
}

export type WordName =
  | 'stop'
  | 'barrierArrived'
  | 'barrierGeneration'
  | 'roundDecision'
  | 'rounds'
  | 'guestsFinished'
  | 'guestProgress'
  | 'mappingsTaken'
  | 'partsDone'
  | 'protectEpoch'
  | 'logActions'
  | 'logEpoch'
  | 'discardEpoch'
  | 'stage2Root'
  | 'twinRoot'
  | 'twinDifferences'
  | 'notifierSequence'
  | 'notifierCount'
  | 'invalidationsOpen'
  | 'slotsGeneration'
  | 'vmid'
  | 'vmidGeneration'
  | 'vmidCursor'
  | 'runQueueLine'
  | 'tlbiClaimed'
  | 'tlbiPosted';

export const WORDS: Readonly<Record<WordName, WordSpec>> = {
  stop: {
    owner: 'run',
    writers: 'main',
    meaning: 'Stop.abort ends every wait',
    monotone: true,
  },
  barrierArrived: {
    owner: 'barrier',
    writers: 'every agent',
    meaning: 'agents that stand at the barrier',
    monotone: false,
  },
  barrierGeneration: {
    owner: 'barrier',
    writers: 'the last agent to arrive',
    meaning: 'waitable: barriers passed',
    monotone: true,
  },
  roundDecision: {
    owner: 'host agent',
    writers: 'host agent',
    meaning: '1: another round follows; read after a barrier',
    monotone: false,
  },
  rounds: {
    owner: 'host agent',
    writers: 'host agent',
    meaning: 'rounds begun',
    monotone: true,
  },
  guestsFinished: {
    owner: 'run',
    writers: 'every vCPU',
    meaning: 'guest programs that ended, over all phases',
    monotone: true,
  },
  guestProgress: {
    owner: 'run',
    writers: 'every vCPU, where programs of the host pause',
    meaning: 'waitable: faulting accesses that got through, and guest programs that ended',
    monotone: true,
  },
  partsDone: {
    owner: 'run',
    writers: 'every agent, in phases with handlers of userfaults',
    meaning: 'parts of such phases that ended',
    monotone: true,
  },
  mappingsTaken: {
    owner: 'run',
    writers: 'host agents',
    meaning:
      'times that the host took access flags, mappings or W away without a notifier: the next access faults',
    monotone: true,
  },
  protectEpoch: {
    owner: 'host agent',
    writers: 'host agent, before each write-protection of everything',
    meaning: 'write-protections begun',
    monotone: true,
  },
  logActions: {
    owner: 'run',
    writers: 'host agents, before each',
    meaning: 'starts, stops and harvests of dirty logs begun',
    monotone: true,
  },
  logEpoch: {
    owner: 'run',
    writers: 'host agents, once nobody writes the slot unseen any more',
    meaning: 'dirty logs that have begun',
    monotone: true,
  },
  discardEpoch: {
    owner: 'host agent',
    writers: 'host agent, in phases without guests',
    meaning: 'discards of everything',
    monotone: true,
  },
  stage2Root: {
    owner: 'mmu_lock',
    writers: 'VM creation and teardown',
    meaning: 'frame number of the first root page plus 1; 0: no table',
    monotone: false,
  },
  twinRoot: {
    owner: 'mmu_lock',
    writers: 'VM creation and teardown, with --twin',
    meaning: "the same for the twin's table",
    monotone: false,
  },
  twinDifferences: {
    owner: 'mmu_lock',
    writers: 'SYSTEM_OFF',
    meaning: 'comparisons of both tables that found a difference',
    monotone: true,
  },
  notifierSequence: {
    owner: 'mmu_lock',
    writers: 'notifier end',
    meaning: 'invalidations completed; read without the lock too',
    monotone: true,
  },
  notifierCount: {
    owner: 'mmu_lock',
    writers: 'notifier start and end',
    meaning: 'invalidations open',
    monotone: false,
  },
  invalidationsOpen: {
    owner: 'mn_invalidate_lock',
    writers: 'notifier start and end, from 5.18 on',
    meaning: 'waitable: invalidations open, slots met or not: slots do not change meanwhile',
    monotone: false,
  },
  slotsGeneration: {
    owner: 'slots_lock',
    writers: 'changes of memslots',
    meaning: 'waitable: memslots published; bit 0: which of the two arrays is read, under SRCU',
    monotone: true,
  },
  vmid: {
    owner: 'vmid_lock',
    writers: 'vCPUs that enter, VM creation',
    meaning: "the VM's VMID, and 4 bytes on its generation; read without the lock too",
    monotone: false,
  },
  vmidGeneration: {
    owner: 'vmid_lock',
    writers: 'the vCPU that finds no VMID left',
    meaning: 'generations of VMIDs begun, less one; read without the lock too',
    monotone: true,
  },
  vmidCursor: {
    owner: 'vmid_lock',
    writers: 'vCPUs that enter',
    meaning: 'the last VMID given out',
    monotone: false,
  },
  runQueueLine: {
    owner: 'run_queue',
    writers: 'vCPUs that wait for a CPU, or give one up',
    meaning: 'vCPUs that have lined up; 4 bytes on, those that were served',
    monotone: true,
  },
  tlbiClaimed: {
    owner: 'interconnect',
    writers: 'every agent that invalidates',
    meaning: 'places claimed in the ring of TLBI commands',
    monotone: true,
  },
  tlbiPosted: {
    owner: 'interconnect',
    writers: 'every agent that invalidates, in ring order',
    meaning: 'waitable: commands that can be read',
    monotone: true,
  },
};
