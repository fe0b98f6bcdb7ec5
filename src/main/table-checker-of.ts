/** What watches the tables of a run under `explore`. */
import { read32 } from '#port';
import { TableChecker } from '../check/table-checker.ts';
import type { Names } from '../check/names.ts';
import type { InitialPage, Root } from '../check/tables.ts';
import { PROFILES } from '../kvm/profile.ts';
import { Descriptor } from '../machine/descriptor.ts';
import { FRAME_META_BYTES } from '../machine/frames.ts';
import { stage2Root } from '../machine/geometry.ts';
import { geometryOf } from '../machine/shape.ts';
import { ANSWER_BYTES } from '../machine/tlbi.ts';
import { nameOf } from '../workers/agents.ts';
import { layoutOfVm } from '../workers/layout.ts';
import { lockClassesOf } from '../workers/lock-classes.ts';
import { descriptorText } from './explore/descriptor-text.ts';
import type { SharedWorld } from './shared-world.ts';

/** The VMs are as every execution begins with them. */
export function tableCheckerOf(shared: SharedWorld): TableChecker {
  const { world, worlds, layout } = shared;
  const { scenario } = world;
  const { startLevel, pages } = stage2Root(geometryOf(scenario.machine), scenario.ipaBits);
  const { mmuLock, name } = PROFILES[scenario.kvm];
  const roots = worlds.flatMap((_, vm): Root[] => {
    const { words, locks, rwLocks, tablesRcu } = layoutOfVm(layout, vm);
    const common = {
      vmid: words.vmid,
      mmuLock: mmuLock === 'spin' ? locks.mmu_lock : rwLocks.mmu_lock,
      sections: tablesRcu,
    };
    const live = { word: words.stage2Root, initial: read32(words.stage2Root), isWalked: true };
    const twin = { word: words.twinRoot, initial: read32(words.twinRoot), isWalked: false };
    return [live, ...(scenario.twin ? [twin] : [])].map((root) => ({ ...common, ...root }));
  });
  const { base, frameBytes, frames, contents, meta } = layout.tableZone;
  const zone = { base, frameBytes, frames, contents, meta, metaBytes: FRAME_META_BYTES };
  return new TableChecker({
    tables: {
      zone,
      roots,
      startLevel,
      rootPages: pages,
      hasStage1: scenario.stage1 !== undefined,
      initial: initialPages(shared),
    },
    cpus: { at: layout.interconnect.answers, bytes: ANSWER_BYTES },
    sharedEdits: name === '6.12' ? 'swap' : 'store',
    names: namesOf(shared),
  });
}

function namesOf({ layout, world }: SharedWorld): Names {
  const classes = lockClassesOf(layout);
  const { geometry } = world.vm.parts;
  return {
    agent: (agent) => nameOf(layout, agent),
    lock: (at) => classes.get(at)?.name ?? null,
    entry: (lo, hi) => descriptorText(new Descriptor(lo, hi), geometry),
  };
}

/** The pages that were handed out so far. */
function initialPages({ memory, world, layout }: SharedWorld): InitialPage[] {
  const { contents, frameBytes, meta } = layout.tableZone;
  const { used } = world.memory.tables.accounts();
  return Array.from({ length: used }, (_, index): InitialPage => {
    const at = contents + index * frameBytes;
    const halves = new Int32Array(memory.buffer, at, frameBytes / 4).slice();
    return { index, halves, references: read32(meta + index * FRAME_META_BYTES) };
  });
}
