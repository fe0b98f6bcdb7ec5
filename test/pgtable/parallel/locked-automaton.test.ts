/** The automaton of docs/locked-entries.md, transition by transition, in the form that runs beside other walks. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import type { Phys } from '../../../src/machine/address.ts';
import { Attributes, Descriptor, EMPTY } from '../../../src/machine/descriptor.ts';
import { LOCKED, isLocked, ownerAnnotation } from '../../../src/pgtable/invalid-entry.ts';
import { stage2RelaxPerms } from '../../../src/pgtable/parallel/attributes.ts';
import { makeEntry, tryBreakEntry, updateFor } from '../../../src/pgtable/parallel/entry-update.ts';
import { VisitContext, WalkFlag } from '../../../src/pgtable/walker.ts';
import { GEOMETRY_4K } from '../../../src/machine/geometry.ts';
import { must } from '../../support/tiny-machine.ts';
import { M2, RO, RW } from '../helpers.ts';
import { FAULT, ParallelTable } from './helpers.ts';

const IPA = 0x4020_0000;
const PHYS = 0x8000_0000 as Phys;
const SHARED = updateFor(WalkFlag.shared);

/** A row of the document's table. */
interface Row {
  readonly from: string;
  readonly event: string;
  readonly to: string;
  readonly tlbi: string;
  readonly references: string;
}

const rows: readonly Row[] = readFileSync('docs/locked-entries.md', 'utf8')
  .split('\n')
  .filter(
    (line) => line.startsWith('| ') && !line.startsWith('| from') && !line.startsWith('| ---'),
  )
  .map((line) => {
    const [from = '', event = '', to = '', tlbi = '', references = ''] = line
      .split('|')
      .slice(1)
      .map((cell) => cell.trim());
    return { from, event, to, tlbi, references };
  });

const leaf = (prot: number): Descriptor => {
  const { attributes } = new ParallelTable().pgt;
  return Descriptor.leaf(GEOMETRY_4K, PHYS, 2, attributes.encode(prot) as Attributes);
};
/** An entry of level 2 in each state; a table is one that the test has no need to enter. */
const ENTRIES: Readonly<Record<string, Descriptor>> = {
  empty: EMPTY,
  owner: ownerAnnotation(1),
  leaf: leaf(RO),
  table: Descriptor.table(GEOMETRY_4K, PHYS),
  locked: LOCKED,
};

/** A table whose entry of level 2 for the address is in a state, and a visit that saw it. */
class Scene {
  readonly table: ParallelTable = new ParallelTable();
  readonly context: VisitContext;
  readonly #before: number;

  constructor(state: string) {
    const { table } = this;
    table.map({ ipa: IPA, size: M2, phys: PHYS, prot: RO });
    const { at, level } = table.lookup(IPA);
    must(level === 2, `a block of level ${level}`);
    const entry = ENTRIES[state] as Descriptor;
    table.plant(IPA, BigInt.asUintN(64, entry.toBigInt()));
    table.logged();
    this.context = new VisitContext(at, entry, IPA, 2, { start: IPA, end: IPA + M2 });
    this.#before = this.#references();
  }

  #references(): number {
    return drive(this.table.zone.countAt(this.context.entry));
  }

  /** Performs the event; `refused` or `bug`, or nothing if it went through. */
  perform(event: string): string | null {
    const { table, context } = this;
    const { pgt } = table;
    if (event === 'break') return drive(tryBreakEntry(pgt, context, SHARED)) ? null : 'refused';
    if (event === 'relax') {
      const outcome = drive(stage2RelaxPerms(pgt, { ipa: IPA, prot: RW, flags: FAULT }));
      return outcome === 'ok' ? null : 'refused';
    }
    const made = event === 'make' ? 'leaf' : event.replace('make ', '');
    try {
      drive(makeEntry(pgt, context, ENTRIES[made] as Descriptor));
      return null;
    } catch {
      return 'bug';
    }
  }

  /** The row that this makes, after the event. */
  row(from: string, event: string): Row {
    const answer = this.perform(event);
    const at = this.context.entry;
    const lo = this.table.machine.word(at) >>> 0;
    const hi = this.table.machine.word(at + 4) >>> 0;
    const log = this.table.logged().find((line) => line.includes('tlbi')) ?? 'none';
    const tlbi = log.replace(/^tlbi range.*/u, 'range').replace(/^tlbi [0-9a-f]+.*/u, 'page');
    return {
      from,
      event,
      to: answer ?? stateOf(new Descriptor(lo | 0, hi | 0)),
      tlbi: tlbi.startsWith('local') ? 'local' : tlbi,
      references: (this.#references() - this.#before).toString(),
    };
  }
}

function stateOf(entry: Descriptor): string {
  if (isLocked(entry)) return 'locked';
  if (entry.isTable(2)) return 'table';
  if (entry.isValid()) return 'leaf';
  return entry.equals(EMPTY) ? 'empty' : 'owner';
}

const STATES = Object.keys(ENTRIES);

test('the document has a row for every pair that can be', () => {
  const pairs = [
    ...STATES.map((state) => `${state} break`),
    ...STATES.filter((state) => state !== 'locked').map((state) => `${state} make`),
    ...STATES.filter((state) => state !== 'locked').map((state) => `locked make ${state}`),
    // Who relaxes a table relaxes a leaf below it.
    ...STATES.filter((state) => state !== 'table').map((state) => `${state} relax`),
  ];
  expect(rows.map(({ from, event }) => `${from} ${event}`).toSorted()).toEqual(pairs.toSorted());
});

test.each(rows)('$from, $event: $to', (row) => {
  const scene = new Scene(row.from);
  expect(scene.row(row.from, row.event)).toEqual(row);
});

test.each(STATES.filter((state) => state !== 'leaf'))(
  'a leaf that has become %s since it was loaded: both are refused',
  (now) => {
    for (const event of ['break', 'swap'] as const) {
      const { table, context } = new Scene('leaf');
      table.plant(IPA, BigInt.asUintN(64, (ENTRIES[now] as Descriptor).toBigInt()));
      const isDone =
        event === 'break'
          ? drive(tryBreakEntry(table.pgt, context, SHARED))
          : drive(SHARED.tryStore(context, leaf(RW)));
      expect([isDone, table.logged()]).toEqual([false, []]);
      expect(table.machine.word(context.entry) >>> 0).toBe((ENTRIES[now] as Descriptor).lo >>> 0);
    }
  },
);

test('a walk that meets a locked entry tells its owner which; one that met another does not', () => {
  const met = new Scene('locked');
  expect(met.perform('relax')).toBe('refused');
  expect(met.table.ops.met).toEqual([met.context.entry]);
  const mapped = new Scene('locked');
  expect(mapped.table.map({ ipa: IPA, size: M2, phys: PHYS, flags: FAULT })).toBe('again');
  expect(mapped.table.ops.met).toEqual([mapped.context.entry]);
  const gone = new Scene('empty');
  expect(gone.perform('relax')).toBe('refused');
  expect(gone.table.ops.met).toEqual([]);
});
