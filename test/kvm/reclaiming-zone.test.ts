import { expect, test } from 'vitest';
import { drive, type Op } from '#port';
import { Scripted } from '../../src/explore/scripted.ts';
import { NO_FRAME } from '../../src/machine/frames.ts';
import type { Phys } from '../../src/machine/address.ts';
import { runDaemon } from '../../src/workers/agents.ts';
import { Lab } from '../support/lab.ts';

test('who finds no page left waits for those that were put off, and gets one', () => {
  const lab = new Lab({ kvm: '6.12' });
  const { memory, tablesRcu } = lab.view(0);
  const unlinked = drive(memory.tables.zalloc());
  lab.drain('tables', 0);
  const daemon = lab.view(1);
  const taken: Phys[] = [];
  lab.run(new Scripted([{ agent: 0, toEnd: true }]), [
    function* take(): Op<void> {
      taken.push(yield* memory.tables.zalloc());
      yield* tablesRcu.call(memory.tables.recordOf(memory.tables.wordOf(unlinked), 2));
      taken.push(yield* memory.tables.zalloc());
      yield* tablesRcu.retire();
    },
    () => runDaemon(daemon),
  ]);
  expect(taken).toEqual([NO_FRAME, unlinked]);
});
