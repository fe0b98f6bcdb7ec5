/** Slots that come and go, and the end of the address space: faults put into the code show. */
import { expect, test } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const update = 'src/kvm/memslot-update.ts';

/** What a run comes to: its verdicts, or how it broke off. */
async function endOf(workload: string, edit: SourceEdit, seeds: number): Promise<string> {
  try {
    const result = await runSmall(small(workload), { edits: [edit], seeds });
    return [...new Set(verdictsOf(result))].join(', ');
  } catch (error) {
    return (error as Error).message;
  }
}

test.each<readonly [string, string, SourceEdit, RegExp]>([
  [
    'a retired slot stays mapped',
    'memslots',
    { file: update, find: "yield* applyRange(vm, old, 'unmap');", replace: '' },
    /is mapped, its slot is gone$/,
  ],
  [
    'nobody waits for the readers of the slots',
    'memslots',
    { file: 'src/kvm/memslots.ts', find: 'yield* this.#srcu.synchronize();', replace: '' },
    /is mapped, its slot is gone$|^dirty-lost$/,
  ],
  [
    'a write is granted in read-only memory',
    'memslots',
    {
      file: 'src/kvm/user-mem-abort.ts',
      find: 'if (!isWritable || slot.isReadonly) return false;',
      replace: 'if (!isWritable) return false;',
    },
    /write-not-allowed/,
  ],
  [
    'registers of another page are mapped',
    'memslots',
    {
      file: 'src/kvm/host/fault.ts',
      find: 'area.pgoff + mm.table.pageIn(area.hva, hva);',
      replace: 'area.pgoff + (mm.table.pageIn(area.hva, hva) ^ 1);',
    },
    /stale-translation/,
  ],
  [
    'a slot that was added is not deleted',
    'memslots',
    {
      file: 'src/workers/slot-actions.ts',
      find: 'yield* request(world, { ...added, bytes: 0 });',
      replace: '',
    },
    /^slots$/,
  ],
  [
    'an unmapping goes on when the table is gone',
    'teardown',
    { file: 'src/kvm/range.ts', find: '    if (pgt === null) return false;', replace: '' },
    /TypeError: Cannot read properties of null/,
  ],
  [
    'the table stays when the address space ends',
    'teardown',
    { file: 'src/kvm/kvm-notifier.ts', find: 'yield* this.vm.freeStage2();', replace: '' },
    /stale-leaf/,
  ],
  [
    'the pages of the process stay',
    'teardown',
    {
      file: 'src/kvm/host/areas.ts',
      find: '    area.isMapped = false;\n    yield* zapRange(mm, area);\n  }',
      replace: '    area.isMapped = false;\n  }',
    },
    /frame-kept/,
  ],
])('%s', async (_, workload, edit, end) => {
  const said = await endOf(workload, edit, 100);
  expect(said).toMatch(end);
});
