/**
 * Good and bad come in pairs that differ by one edit of the source: the good run is found clean, the bad one is found under its own verdict.
 * Edits, and no workload files: what is wrong here is the code, and a workload cannot make it so.
 */
import { describe, expect, test } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small, verdictsOf } from './small.ts';

interface Pair {
  readonly what: string;
  readonly workload: string;
  readonly kvm: Scenario['kvm'];
  readonly edits: readonly SourceEdit[];
  /** What the checkers of tables find, in their order. */
  readonly verdicts: readonly string[];
}

const TABLE_VERDICTS: ReadonlySet<string> = new Set([
  'break-before-make',
  'break-not-completed',
  'stale-tlb',
  'tlb-fill',
  'table-freed',
  'table-use',
  'table-count',
  'entry-lock',
]);

const edit = (file: string, find: string, replace: string): SourceEdit => {
  return { file: `src/${file}`, find, replace };
};

const pairs: readonly Pair[] = [
  {
    what: 'an entry is broken without a TLBI',
    workload: 'storm',
    kvm: '5.10',
    edits: [edit('pgtable/entry.ts', 'yield* pgt.ops.tlbFlushIpa(context.addr, hint);', '')],
    verdicts: [],
  },
  {
    what: 'the TLBI names another level',
    workload: 'storm',
    kvm: '5.10',
    edits: [edit('pgtable/entry.ts', '(context.addr, hint)', '(context.addr, 1)')],
    verdicts: [],
  },
  {
    what: 'a block is replaced by a table without a break',
    workload: 'migration',
    kvm: '5.18',
    edits: [
      edit(
        'pgtable/exclusive/map.ts',
        'yield* storeDescriptor(entry, EMPTY, Order.once);\n    if',
        'if',
      ),
    ],
    verdicts: [],
  },
  {
    what: 'a CPU ignores TLBIs with a level hint',
    workload: 'storm',
    kvm: '5.10',
    edits: [
      edit(
        'machine/cpu.ts',
        'this.tlb.invalidate(command.ipa, command.level, command.vmid);\n      return;',
        'return;',
      ),
    ],
    verdicts: [],
  },
  {
    what: 'a leaf without AF is cached',
    workload: 'access-flag',
    kvm: '5.10',
    edits: [edit('machine/hardware-walk.ts', "? 'accessFlag' : 'leaf'", "? 'leaf' : 'leaf'")],
    verdicts: [],
  },
  {
    what: 'an empty table is freed before it is unlinked',
    workload: 'storm',
    kvm: '5.10',
    edits: [
      edit(
        'pgtable/table-removal.ts',
        '  // Walk-cache',
        '  yield* ops.putPage(child);\n  // Walk-cache',
      ),
      edit(
        'pgtable/table-removal.ts',
        'yield* ops.putPage(context.entry);\n  yield* ops.putPage(child);',
        'yield* ops.putPage(context.entry);',
      ),
    ],
    verdicts: [],
  },
  {
    what: 'a free table is read',
    workload: 'storm',
    kvm: '5.10',
    edits: [
      edit(
        'pgtable/table-removal.ts',
        "import type { Op } from '#port';",
        "import { Order, load64, type Op } from '#port';",
      ),
      edit(
        'pgtable/table-removal.ts',
        'yield* ops.putPage(child);',
        'yield* ops.putPage(child);\n  yield* load64(child, Order.once);',
      ),
    ],
    verdicts: [],
  },
  {
    what: 'a detached table is freed without a grace period',
    workload: 'migration',
    kvm: '6.12',
    edits: [edit('kvm/generations/walk-sections.ts', 'yield* this.#rcu.synchronize();', '')],
    verdicts: [],
  },
  {
    what: 'an entry is counted twice',
    workload: 'storm',
    kvm: '5.10',
    edits: [],
    verdicts: [],
  },
  {
    what: 'readers store without compare-and-swap',
    workload: 'storm',
    kvm: '6.12',
    edits: [
      edit(
        'pgtable/parallel/entry-update.ts',
        'return yield* tryStoreDescriptor(context.entry, context.old, value);',
        'yield* storeDescriptor(context.entry, value, Order.once);\n    return true;',
      ),
    ],
    verdicts: [],
  },
];

async function found({ workload, kvm }: Pair, edits: readonly SourceEdit[]): Promise<string[]> {
  const verdicts = verdictsOf(await runSmall(small(workload, { kvm }), { seeds: 10, edits }));
  return verdicts.filter((verdict) => TABLE_VERDICTS.has(verdict));
}

describe.each(pairs)('$what', (pair) => {
  test('is found', async () => {
    expect(await found(pair, pair.edits)).toEqual(pair.verdicts);
  });
});
