/**
 * Defects that several checkers of tables see, or that need the tables of another generation, on small workloads: each is found
 * under all of its verdicts. One for each verdict alone is in workloads/bad (pairs.test.ts).
 */
import { expect, test } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small, verdictsOf } from './small.ts';

interface Defect {
  readonly what: string;
  readonly workload: string;
  readonly kvm: Scenario['kvm'];
  readonly edit: SourceEdit;
  readonly verdicts: readonly string[];
  /** Where not the first one shows it. */
  readonly seeds?: number;
}

const edit = (file: string, find: string, replace: string): SourceEdit => {
  return { file: `src/${file}`, find, replace };
};

const defects: readonly Defect[] = [
  {
    what: 'the TLBI names another level',
    workload: 'good/break-not-completed',
    kvm: '5.10',
    edit: edit('pgtable/entry.ts', '(context.addr, hint)', '(context.addr, 1)'),
    verdicts: ['break-not-completed'],
  },
  {
    what: 'a block becomes a table without a break',
    workload: 'good/break-before-make',
    kvm: '5.18',
    edit: edit(
      'pgtable/exclusive/map.ts',
      'yield* this.#clear(context);\n    yield* this.#make(context, Descriptor.table',
      'yield* this.#make(context, Descriptor.table',
    ),
    verdicts: ['break-before-make', 'break-not-completed', 'table-count', 'stuck'],
  },
  {
    what: 'a table becomes a block without a break',
    workload: 'good/break-before-make',
    kvm: '5.18',
    edit: edit(
      'pgtable/exclusive/map.ts',
      'yield* storeDescriptor(context.entry, EMPTY, Order.once);\n    yield* this.#pgt.ops.tlbFlushVmid();',
      '',
    ),
    verdicts: ['table-freed', 'break-before-make', 'break-not-completed', 'table-use', 'stuck'],
  },
  {
    what: 'a LOCKED entry is made without a flush',
    workload: 'good/break-before-make',
    kvm: '6.12',
    edit: edit('pgtable/parallel/entry-update.ts', '  yield* update.flushTlb(pgt, context);\n', ''),
    verdicts: ['break-before-make', 'break-not-completed', 'stuck'],
  },
  {
    what: 'a table that others may walk is freed without a grace period',
    workload: 'good/break-before-make',
    kvm: '6.12',
    edit: edit(
      'locking/rcu.ts',
      '    yield* barrier(Barrier.dmb);\n    for (let agent = 0;',
      '    if (this.#agents > 0) return;\n    for (let agent = 0;',
    ),
    verdicts: ['table-freed'],
  },
  {
    what: 'combined entries are dropped, and nobody waits until they are',
    workload: 'guest-tables',
    kvm: '5.10',
    edit: edit(
      'kvm/two-stage-mmu.ts',
      'asid: 0 as Asid });\n    yield* this.interconnect.dsbIsh();',
      'asid: 0 as Asid });',
    ),
    verdicts: ['break-not-completed', 'break-before-make'],
  },
  {
    what: 'a CPU keeps what it invalidates for itself',
    workload: 'permission-storm',
    kvm: '6.12',
    edit: edit(
      'machine/cpu.ts',
      'count(this.#interconnect.statistics.local, 1);\n    this.#invalidate(command);',
      'count(this.#interconnect.statistics.local, 1);',
    ),
    verdicts: ['stale-tlb', 'stuck'],
  },
  {
    what: 'the table is not looked up again where the lock was dropped between two chunks',
    workload: 'test/fixtures/chunked-teardown.yaml',
    kvm: '6.12',
    edit: edit(
      'kvm/range.ts',
      '  for (;;) {\n    const pgt = yield* vm.pgt();\n    if (pgt === null) return false;\n',
      '  const pgt = yield* vm.pgt();\n  if (pgt === null) return false;\n  for (;;) {\n',
    ),
    verdicts: ['table-use'],
    seeds: 20,
  },
];

test.each(defects)('$what', async ({ workload, kvm, edit: defect, verdicts, seeds = 1 }) => {
  const result = await runSmall(small(workload, { kvm }), { seeds, edits: [defect] });
  expect(verdictsOf(result)).toEqual(verdicts);
});
