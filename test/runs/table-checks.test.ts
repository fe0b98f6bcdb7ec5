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
    workload: 'migration',
    kvm: '5.10',
    edits: [edit('pgtable/entry.ts', 'yield* pgt.ops.tlbFlushIpa(context.addr, hint);', '')],
    verdicts: ['break-not-completed', 'break-before-make'],
  },
  {
    what: 'the TLBI names another level',
    workload: 'migration',
    kvm: '5.10',
    edits: [edit('pgtable/entry.ts', '(context.addr, hint)', '(context.addr, 1)')],
    verdicts: ['break-not-completed', 'break-before-make'],
  },
  {
    what: 'a CPU keeps what a TLBI of its VMID names',
    workload: 'migration',
    kvm: '5.10',
    edits: [edit('machine/cpu.ts', 'this.tlb.invalidateVmid(command.vmid);', '')],
    verdicts: ['stale-tlb'],
  },
  {
    what: 'a leaf without AF is cached',
    workload: 'access-flag',
    kvm: '5.10',
    edits: [edit('machine/hardware-walk.ts', "? 'accessFlag' : 'leaf'", "? 'leaf' : 'leaf'")],
    verdicts: ['tlb-fill'],
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
    verdicts: ['table-freed'],
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
    verdicts: ['table-use'],
  },
  {
    what: 'an entry is counted twice',
    workload: 'demand-paging',
    kvm: '5.18',
    edits: [
      edit(
        'pgtable/exclusive/map.ts',
        'yield* this.#pgt.ops.getPage(entry);',
        'yield* this.#pgt.ops.getPage(entry);\n    yield* this.#pgt.ops.getPage(entry);',
      ),
    ],
    verdicts: ['table-count'],
  },
  {
    what: 'readers store without compare-and-swap',
    workload: 'demand-paging',
    kvm: '6.12',
    edits: [
      edit(
        'pgtable/parallel/entry-update.ts',
        'return yield* tryStoreDescriptor(context.entry, context.old, value);',
        'const now = yield* loadDescriptor(context.entry);\n    if (!now.equals(context.old)) return false;\n    yield* storeDescriptor(context.entry, value, Order.once);\n    return true;',
      ),
    ],
    verdicts: ['entry-lock'],
  },
];

async function found({ workload, kvm }: Pair, edits: readonly SourceEdit[]): Promise<string[]> {
  const verdicts = verdictsOf(await runSmall(small(workload, { kvm }), { seeds: 4, edits }));
  return verdicts.filter((verdict) => TABLE_VERDICTS.has(verdict));
}

describe.each(pairs)('$what', (pair) => {
  test('is found', async () => {
    expect(await found(pair, pair.edits)).toEqual(pair.verdicts);
  });

  test('and nothing without the edit', async () => {
    expect(await found(pair, [])).toEqual([]);
  });
});
