/**
 * Defects that this library's code really had (specification, appendix A), put back by edits: each is found, for its own reason, and
 * without the edit nothing is. A run finds it where one can; where none can yet, a scene does, played by a worker whose modules are edited.
 */
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { loadEdits } from '../../src/main/edits-file.ts';
import type { SourceEdit } from '../../src/main/edits.ts';
import { StuckError } from '../../src/main/user-error.ts';
import { workerLaunch } from '../../src/main/worker-entry.ts';
import type { Phase, Region, Scenario } from '../../src/workers/scenario.ts';
import { scenes, type SceneName } from '../fixtures/defects/scenes.ts';
import { runSmall, small } from '../runs/small.ts';

const FOLDER = 'test/fixtures/defects';
const SEEDS = 5;

const editsOf = (defect: string): readonly SourceEdit[] => loadEdits([`${FOLDER}/${defect}.yaml`]);

const RAM = 0x4000_0000;
const PAGE = 0x1000;
const MIB = 2 ** 20;

/** Where every vCPU touches the same fresh pages they meet in the table: one finds the leaf of another, and maps it again. */
function demandPaging(region: Region): Scenario {
  const scenario = small('demand-paging');
  const moved = (phase: Phase): Phase =>
    phase.guest?.kind === 'pattern' ? { ...phase, guest: { ...phase.guest, region } } : phase;
  return { ...scenario, rounds: scenario.rounds.map(moved) };
}

/** The host discards a slot of which one page is mapped: the first one behind the entry of level 2 that the slot begins in. */
function sparseDiscard(base: number): Scenario {
  const touch: Phase = {
    name: 'touch',
    guest: {
      kind: 'trace',
      pages: Uint32Array.of((RAM + 2 * MIB) / PAGE),
      kinds: Uint8Array.of(1),
      vcpuPages: 0,
    },
    hosts: [],
  };
  const discard: Phase = { name: 'discard', guest: null, hosts: [{ action: 'discard', times: 1 }] };
  const slots = [{ base, bytes: 2 * MIB + PAGE, logging: false }];
  return { ...small('demand-paging', { vcpus: 1 }), slots, setup: [], rounds: [touch, discard] };
}

/** How a run ends: its findings, or why it does not end; without the place in the order of events, which any change of the code moves. */
async function endOf(scenario: Scenario, edits: readonly SourceEdit[]): Promise<readonly string[]> {
  try {
    const { violations } = await runSmall(scenario, { seeds: SEEDS, edits });
    return violations.map(({ verdict, message }) => `${verdict}: ${message}`);
  } catch (error) {
    if (!(error instanceof StuckError)) throw error;
    return [error.message.replace(/^seed \d+, step \d+: vCPU \d+: /, '')];
  }
}

/** Plays a scene in a worker whose core is edited. What it found, or what its code threw. */
async function played(scene: SceneName, edits: readonly SourceEdit[]): Promise<unknown> {
  const entry = new URL('../fixtures/defects/scene-entry.ts', import.meta.url);
  const { filename, execArgv } = workerLaunch('explore', entry, edits);
  const worker = new Worker(new URL(filename), { execArgv, workerData: scene });
  const findings: unknown[] = await once(worker, 'message');
  return findings[0];
}

interface FoundByRun {
  readonly scenario: () => Scenario;
  readonly end: readonly unknown[];
  /** The same but for what the defect needs: with the edit it is clean too. */
  readonly spared: () => Scenario;
}

const like = (pattern: RegExp): unknown => expect.stringMatching(pattern);
const livelock = (access: string): string =>
  `${access}: the access faults again and again although the host changes nothing`;

const byRun: Readonly<Record<string, FoundByRun>> = {
  'start-level-is-sl0': {
    scenario: () => small('demand-paging', { ipaBits: 48, vcpus: 1 }),
    end: [livelock('vCPU 0, write of IPA 0x40000000')],
    // With 40 bits the two are equal.
    spared: () => small('demand-paging', { ipaBits: 40 }),
  },
  'valid-update-leaks-reference': {
    scenario: () => demandPaging('shared'),
    end: [
      like(/^table-count: /),
      like(/^reference-count: .* has \d+ references and 16 counted entries$/),
    ],
    spared: () => demandPaging('partitioned'),
  },
  'table-removal-hinted': {
    scenario: () => small('demand-paging'),
    // What TLBs keep of the table makes a vCPU fault for ever; checkers see the table go before.
    end: [
      like(/^table-freed: host freed table page \d+, which a walk cache may hold$/),
      like(/^break-not-completed: /),
      like(/^table-use: vCPU \d accessed table page \d+, which is free$/),
      like(/^stuck: .* the access faults again and again although the host changes nothing$/),
    ],
    // Its one discard finds nothing to remove.
    spared: () => small('demand-paging', { repeat: 1 }),
  },
  'walk-skips-tail': {
    scenario: () => sparseDiscard(RAM + PAGE),
    end: [
      // The leaf that the discard left behind maps a frame that became another page's.
      like(/^stale-translation: 1 accesses of vCPU 0 .*, the first for IPA 0x40200000$/),
      like(/^stray-leaf: IPA 0x40200000 level 3 .*: nobody accessed the page$/),
      like(/^digest: /),
    ],
    spared: () => sparseDiscard(RAM),
  },
};

const byScene: Readonly<Record<string, readonly [SceneName, readonly unknown[]]>> = {
  'break-zeroes-entry': [
    'collapse',
    // The detached page is looked for at address 0, and never freed.
    ['no frame at 0x0'],
  ],
  'collapse-flushes-one-ipa': [
    'collapse',
    ['a read of 40001000 does not reach 80001000, which the table maps'],
  ],
  'permission-fault-always-relaxes': [
    'writeToBlockWhileLogging',
    ['511 pages are writable, and not dirty'],
  ],
  'end-from-unrounded-start': ['unmapFromInsideAPage', ['40001000 is unmapped too']],
  'cacheability-unshifted': [
    'cleanWhatGoes',
    ['a flush cleans 0 leaves, not 1', 'an unmap cleans 0 leaves, not 1'],
  ],
  'relax-unhinted': [
    'relax',
    ['the TLBI of a page has no level hint', 'a walk that failed is followed by a TLBI'],
  ],
  'no-reload-after-table-pre': [
    'replaceTable',
    // The page of the table is free when the walk goes through it.
    [like(/^reference dropped on free frame \d+$/)],
  ],
  'root-without-dsb': ['birth', ['no DSB between zeroing the root and publishing it']],
};

describe.each(Object.entries(byRun))('%s', (defect, { scenario, end, spared }) => {
  test('ends a run', async () => {
    expect(await endOf(scenario(), editsOf(defect))).toEqual(end);
  });

  test('needs what that run has', async () => {
    expect(await endOf(spared(), editsOf(defect))).toEqual([]);
  });

  test('is all that is wrong with it', async () => {
    expect(await endOf(scenario(), [])).toEqual([]);
  });
});

describe.each(Object.entries(byScene))('%s', (defect, [scene, findings]) => {
  test('spoils a scene', async () => {
    expect(await played(scene, editsOf(defect))).toEqual(findings);
  });
});

test.each(Object.entries(scenes))('the scene %s finds nothing in the code as it is', (_, scene) => {
  expect(scene()).toEqual([]);
});

test('every defect is put back', () => {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.yaml'));
  const defects = [...Object.keys(byRun), ...Object.keys(byScene)];
  expect(defects.map((defect) => `${defect}.yaml`).toSorted()).toEqual(files.toSorted());
});
