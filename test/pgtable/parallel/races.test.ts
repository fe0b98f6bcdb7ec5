/** Walks beside each other: every schedule of a seed, and the ones that matter by hand (specification section 6, trace B6). */
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../../src/engine/events.ts';
import { drive, type Op, type Word } from '../../../src/engine/explore.ts';
import { RandomScheduler } from '../../../src/explore/random.ts';
import { Scripted, type ScriptLine } from '../../../src/explore/scripted.ts';
import type { Scheduler } from '../../../src/engine/execution.ts';
import { FAULTED } from '../../../src/machine/cpu.ts';
import { ipa, type Vmid } from '../../../src/machine/address.ts';
import { FSC } from '../../../src/machine/syndrome.ts';
import { encodeVttbr } from '../../../src/machine/vtcr.ts';
import { stage2Mkyoung, stage2RelaxPerms } from '../../../src/pgtable/parallel/attributes.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { configOf, descriptorLoads, must } from '../../support/tiny-machine.ts';
import { M2, PAGE, RO, RW } from '../helpers.ts';
import { EntryProtocol } from './entry-protocol.ts';
import { FAULT, LOCKED, ParallelTable, type TableView } from './helpers.ts';

const IPA = 0x4020_0000;
const PHYS = 0x8000_0000;
const page = { ipa: IPA, size: PAGE, phys: PHYS };
const block = { ipa: IPA, size: M2, phys: PHYS };
const beside = { ...page, ipa: IPA + PAGE, phys: PHYS + PAGE };

/** What one agent does; its result is part of the outcome. */
type Step = (view: TableView) => Op<string>;

const maps =
  (request: Parameters<TableView['map']>[0]): Step =>
  (view) =>
    view.map(request);
const relaxes =
  (prot: number, at = IPA): Step =>
  (view) =>
    stage2RelaxPerms(view.pgt, { ipa: at, prot, flags: FAULT });

/** Two or more agents over one table, from the same state again and again. */
class Race {
  readonly table: ParallelTable;
  readonly #agents: readonly (readonly Step[])[];
  /** Tables that were detached in the last run. */
  detached = 0;
  pagesTaken = 0;

  constructor(table: ParallelTable, agents: readonly (readonly Step[])[]) {
    this.table = table;
    this.#agents = agents;
    table.machine.memory.baseline();
  }

  /** Runs once; gives the agents' results, then what the table holds. Checks what holds of every run. */
  run(scheduler: Scheduler): string[] {
    const { machine } = this.table;
    machine.memory.restore();
    const views = this.#agents.map(() => this.table.view());
    const results: string[][] = this.#agents.map(() => []);
    const protocol = new EntryProtocol(machine);
    const { result, seen } = machine.run(
      this.#agents.map(
        (steps, id) =>
          function* () {
            for (const step of steps) results[id]?.push(yield* step(views[id] as TableView));
          },
      ),
      scheduler,
    );
    must(result.outcome === 'completed', JSON.stringify(result));
    protocol.follow(seen);
    must(protocol.broken.length === 0, protocol.broken.join('; '));
    this.detached = views.reduce((sum, { ops }) => sum + drive(ops.drain()), 0);
    this.pagesTaken = views.reduce((sum, { cache }) => sum + cache.taken, 0);
    return [...results.map((words) => words.join(' ')), ...this.table.words()];
  }

  /** Every outcome of so many random schedules, in order. */
  outcomes(schedules: number): string[] {
    const found = new Set<string>();
    for (let seed = 0; seed < schedules; seed++) {
      found.add(this.run(new RandomScheduler(seed)).join(' | '));
    }
    return [...found].toSorted();
  }
}

/** A table whose leaf of `IPA` is read-only. */
function mapped(): ParallelTable {
  const table = new ParallelTable();
  table.map({ ...page, prot: RO });
  return table;
}

/** Faults until the page can be written. */
const until: Step = function* (view): Op<string> {
  for (let attempt = 0; attempt < 50; attempt++) {
    yield* view.map(page);
    if ((yield* stage2RelaxPerms(view.pgt, { ipa: IPA, prot: RW, flags: FAULT })) === 'ok')
      return 'done';
  }
  return 'never';
};

const swaps = (agent: number, at: Word): ScriptLine => ({
  agent,
  until: (pending) => pending.kind === EventKind.cas64 && pending.at === at,
});

describe('two faults on one page', () => {
  test('exactly one maps it, whatever is there of the tables', () => {
    const race = new Race(new ParallelTable(), [[maps(page)], [maps(page)]]);
    expect(race.outcomes(400)).toEqual([
      'again | ok | 3 40200000 -> 80000000 rw-',
      'ok | again | 3 40200000 -> 80000000 rw-',
    ]);
    expect(race.table.pagesInUse()).toBe(2 + 2);
  });

  test('the loser of a table gives its page back', () => {
    const table = new ParallelTable();
    const { at } = table.lookup(IPA);
    const race = new Race(table, [[maps(page)], [maps(page)]]);
    const script = new Scripted([swaps(0, at), swaps(1, at), { agent: 1, toEnd: true }]);
    expect(race.run(script).slice(0, 2)).toEqual(['again', 'ok']);
    expect(script.linesDone).toBe(3);
    expect([race.pagesTaken, race.table.pagesInUse()]).toEqual([3, 2 + 2]);
  });

  test('who repeats ends with the page, in every schedule', () => {
    const race = new Race(new ParallelTable(), [[until], [until], [until]]);
    expect(race.outcomes(300)).toEqual(['done | done | done | 3 40200000 -> 80000000 rw-']);
  });
});

test('B6: one swap wins; the loser faults again on LOCKED and loses again, until the leaf is made', () => {
  const table = new ParallelTable();
  table.map(beside);
  const { at, level } = table.lookup(IPA);
  expect(level).toBe(3);
  const registers = {
    vtcr: configOf(40).vtcr,
    vttbr: encodeVttbr(table.pgt.pgd, 1 as Vmid),
  };
  const cpu = table.machine.main.cpu(0);
  cpu.load(registers);
  const access = function* (): Op<string> {
    yield* cpu.enterGuest();
    const reached = yield* cpu.access(ipa(IPA), 'write');
    yield* cpu.leaveGuest();
    if (reached !== FAULTED) return 'reached';
    const kind = cpu.fault.type === FSC.translation ? 'translation' : 'other';
    return `${kind} ${cpu.fault.level}, ${table.lookup(IPA).value.toString(16)}`;
  };
  const race = new Race(table, [[maps(page)], [maps(page), access, maps(page)]]);
  const script = new Scripted([
    swaps(0, at),
    swaps(1, at),
    { agent: 0, steps: 1 },
    { agent: 1, toEnd: true },
    { agent: 0, steps: 1 },
  ]);
  expect(race.run(script)).toEqual([
    'ok',
    'again translation 3, 400 again',
    '3 40200000 -> 80000000 rw-',
    '3 40201000 -> 80001000 rw-',
  ]);
  expect(script.linesDone).toBe(5);
  expect(table.lookup(IPA).value).not.toBe(LOCKED);
  expect(drive(access())).toBe('reached');
  expect(table.map({ ...page, flags: FAULT })).toBe('again');
});

test('B2 from 6.1 on: a second fault on the page that is there reads three entries and changes none', () => {
  const table = new ParallelTable();
  table.map(page);
  const before = table.entries();
  table.logged();
  const view = table.view();
  const seen = table.machine.alone(function* () {
    yield* view.map(page);
  });
  // The two tables again after their visits.
  expect(descriptorLoads(table.machine, seen)).toBe(3 + 2);
  expect(table.trace(() => view.map(page))).toEqual(['barrier 1']);
  expect(drive(view.map(page))).toBe('again');
  expect(table.entries()).toEqual(before);
  expect(view.cache.taken).toBe(0);
  const exclusive = table.trace(() => view.map({ ...page, flags: 0 }));
  expect(exclusive).toEqual(['barrier 1']);
});

describe('a relax beside a map', () => {
  test('of other memory: either order, or one loses', () => {
    const race = new Race(mapped(), [[maps({ ...page, phys: 2 * PHYS, prot: RO })], [relaxes(RW)]]);
    expect(race.outcomes(400)).toEqual([
      // Relaxed while the map was on its way.
      'again | ok | 3 40200000 -> 80000000 rw-',
      // Met LOCKED, or a leaf that was broken meanwhile.
      'ok | again | 3 40200000 -> 100000000 r--',
      // Before, and after.
      'ok | ok | 3 40200000 -> 100000000 r--',
      'ok | ok | 3 40200000 -> 100000000 rw-',
    ]);
  });

  test('of the first page: there is nothing to relax, or there is', () => {
    const table = new ParallelTable();
    table.map(beside);
    const race = new Race(table, [[maps({ ...page, prot: RO })], [relaxes(RW)]]);
    expect(race.outcomes(400)).toEqual([
      'ok | again | 3 40200000 -> 80000000 r-- | 3 40201000 -> 80001000 rw-',
      'ok | ok | 3 40200000 -> 80000000 rw- | 3 40201000 -> 80001000 rw-',
    ]);
  });

  test('two relaxes lose no permission that was granted', () => {
    const race = new Race(mapped(), [[relaxes(RW)], [relaxes(RO | Prot.x)]]);
    expect(race.outcomes(200)).toEqual([
      'again | ok | 3 40200000 -> 80000000 r-x',
      'ok | again | 3 40200000 -> 80000000 rw-',
      'ok | ok | 3 40200000 -> 80000000 rwx',
    ]);
  });
});

describe('a table that a block replaces while another walks in it', () => {
  const other = { ...page, ipa: IPA + 5 * PAGE, phys: PHYS + 5 * PAGE };

  test('stays until that walk ends: what it maps there is nobody’s', () => {
    const table = mapped();
    const { at } = table.lookup(other.ipa);
    const race = new Race(table, [[maps(block)], [maps(other)]]);
    const script = new Scripted([swaps(1, at), { agent: 0, toEnd: true }, { agent: 1, steps: 1 }]);
    expect(race.run(script)).toEqual(['ok', 'ok', '2 40200000 -> 80000000 rw-']);
    expect(script.linesDone).toBe(3);
    expect([race.detached, race.pagesTaken, table.pagesInUse()]).toEqual([1, 0, 2 + 1]);
  });

  test('is accounted for in every schedule', () => {
    const race = new Race(mapped(), [[maps(block)], [maps(other)], [relaxes(RW)]]);
    const tables = race.outcomes(600).map((outcome) => outcome.split(' | ').slice(3).join(' | '));
    expect([...new Set(tables)].toSorted()).toEqual([
      '2 40200000 -> 80000000 rw-',
      // The block was dissolved by the page that came after it.
      '3 40205000 -> 80005000 rw-',
    ]);
  });

  test('is replaced by one of two', () => {
    const race = new Race(mapped(), [[maps(block)], [maps(block)]]);
    expect(race.outcomes(300)).toEqual([
      'again | ok | 2 40200000 -> 80000000 rw-',
      'ok | again | 2 40200000 -> 80000000 rw-',
    ]);
  });
});

test('any three beside each other leave a table in order', () => {
  const young: Step = function* (view) {
    const leaf = yield* stage2Mkyoung(view.pgt, IPA, FAULT);
    return leaf.isValid() ? 'old' : 'none';
  };
  const steps: readonly Step[] = [
    maps(page),
    maps({ ...page, ipa: IPA + PAGE, prot: RO }),
    maps({ ...page, phys: 4 * M2 }),
    maps(block),
    maps({ ...block, phys: 6 * M2 }),
    relaxes(RW),
    young,
  ];
  const race = (seed: number): void => {
    const pick = (i: number): Step =>
      steps[(seed * 7 + i * 3 + (seed >> i)) % steps.length] as Step;
    const agents = [0, 1, 2].map((id) => [pick(id), pick(id + 3)]);
    expect(new Race(mapped(), agents).outcomes(8).length).toBeGreaterThan(0);
  };
  for (let seed = 0; seed < 60; seed++) race(seed);
});
