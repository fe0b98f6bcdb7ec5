/** What user space does with the dirty log of a slot while the guest runs. */
import { Order, add32, type Op } from '#port';
import { setDirtyLog } from './host-operations.ts';
import { harvest } from './harvest.ts';
import type { LogProgram } from './scenario.ts';
import { noteLogBegun } from './slot-log.ts';
import type { World } from './world.ts';

/** The action is counted before it begins: it may take W from pages, so that their next writes fault. */
export function* actOnLog(world: World, { action, slot }: LogProgram): Op<void> {
  const { layout } = world;
  yield* add32(layout.words.logActions, 1, Order.full);
  if (action === 'harvest') yield* harvest(world, slot);
  else if (action === 'log-stop') yield* setDirtyLog(world, slot, false);
  else if (yield* setDirtyLog(world, slot, true)) yield* noteLogBegun(layout, slot);
}
