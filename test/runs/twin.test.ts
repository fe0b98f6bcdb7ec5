/** Runs of both generations, alone and as twins: walks of a permission fault, equal tables, and a difference that is planted. */
import { drive, write32 } from '#port';
import { expect, test } from 'vitest';
import { PROFILES, twinOf, type ProfileName } from '../../src/kvm/profile.ts';
import { shippedWorkloads } from '../../src/main/input-file.ts';
import { runReport } from '../../src/main/report.ts';
import { agesPages, type GuestProgram } from '../../src/workers/scenario.ts';
import { stage2Unmap } from '../../src/pgtable/stage2-unmap.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const FIRST = 0x4000_0000;
const PAGE = 4096;
const profiles = Object.keys(PROFILES) as ProfileName[];
/** Those that the runs on other machines do not have. */
const others = profiles.filter((name) => name !== '5.10');

/** Each workload with one profile, and each profile on threads; the campaign has all of both. */
const cases = [
  ...shippedWorkloads().map((name, i) => {
    return { name, kvm: others[i % others.length] as ProfileName, engine: 'explore' } as const;
  }),
  { name: 'memslots', kvm: 'legacy', engine: 'threads' },
  { name: 'permission-storm', kvm: '5.10', engine: 'threads' },
  { name: 'guest-tables', kvm: '5.18', engine: 'threads' },
  { name: 'migration', kvm: '6.12', engine: 'threads' },
] as const;

test('a twin is changed by the code of another generation', () => {
  expect(profiles.map((name) => [name, twinOf(name)])).toEqual([
    ['legacy', '5.10'],
    ['5.10', 'legacy'],
    ['5.18', 'legacy'],
    ['6.12', 'legacy'],
  ]);
});

test.each(cases)('$name with a twin, live $kvm, is equal on $engine', async (each) => {
  const { name, kvm, engine } = each;
  const result = await runSmall(small(name, { kvm, twin: true }), { engine });
  const { ok, violations, twin } = result;
  expect({ ok, violations, equal: twin?.equal }).toEqual({
    ok: true,
    violations: [],
    equal: true,
  });
  const [live] = twin?.digests ?? [''];
  // Where pages are aged, the access flag is not compared, and the digest is another.
  const expected = agesPages(small(name)) ? live : result.tables.digest;
  expect(live).toBe(expected);
  expect(runReport(result)).toContain(`twin table: digests ${live} and ${live}, equal`);
});

test.each([
  ['legacy', 2],
  ['5.10', 1],
  ['5.18', 1],
  ['6.12', 1],
] as const)('a write permission fault takes, in %s, walks: %d', async (kvm, walks) => {
  for (const twin of [false, true]) {
    const result = await runSmall(small('permission-storm', { kvm, twin }), { seeds: 2 });
    const { min, max } = result.walks.permission;
    expect([result.ok, min, max]).toEqual([true, walks, walks]);
    expect([result.walks.translation.min, result.walks.translation.max]).toEqual([1, 1]);
  }
});

test('without a twin the result says nothing of one', async () => {
  expect(await runSmall(small('permission-storm'))).not.toHaveProperty('twin');
});

test('a twin that lost a page is a violation, which says where', async () => {
  const result = await runSmall(
    small('permission-storm', { twin: true }),
    {},
    {
      beforeVerify: ({ world }) => {
        const { twin } = world.vm.parts;
        if (twin === null) throw new Error('no twin');
        drive(stage2Unmap(drive(twin.pgt()), FIRST + 2 * PAGE, PAGE));
      },
    },
  );
  expect(verdictsOf(result)).toEqual(['twin']);
  expect(result.violations[0]?.message).toMatch(
    /^the table and its twin differ: IPA 0x40002000 level 3 page 0x[0-9a-f]+ here, IPA 0x40003000 level 3 page 0x[0-9a-f]+ there$/,
  );
  expect(result.twin?.equal).toBe(false);
  expect(runReport(result)).toContain(', different');
});

test('a table that ends earlier than its twin is told, too', async () => {
  const result = await runSmall(
    small('permission-storm', { twin: true }),
    {},
    {
      beforeVerify: ({ world }) => {
        const { twin } = world.vm.parts;
        if (twin === null) throw new Error('no twin');
        drive(stage2Unmap(drive(twin.pgt()), FIRST + 7 * PAGE, PAGE));
      },
    },
  );
  expect(result.violations[0]?.message).toMatch(
    /: IPA 0x40007000 level 3 page 0x[0-9a-f]+ here, nothing more there$/,
  );
});

test('a difference at SYSTEM_OFF is a violation, even if nothing differs at the end', async () => {
  const result = await runSmall(
    small('permission-storm', { twin: true }),
    {},
    { beforeVerify: ({ layout }) => write32(layout.words.twinDifferences, 1) },
  );
  expect(result.violations.map(({ verdict, message }) => `${verdict}: ${message}`)).toEqual([
    'twin: the table and its twin differed at SYSTEM_OFF, not at the end',
  ]);
});

test('an address that a map of 6.12 gets wrong is found by the other generation', async () => {
  const edit = {
    file: 'src/pgtable/parallel/map-target.ts',
    find: 'return this.#phys + (addr - range.start);',
    replace: 'return this.#phys + (addr - range.start) + (addr % 0x4000 === 0 ? 0x1000 : 0);',
  };
  const scenario = small('permission-storm', { kvm: '6.12', twin: true });
  const result = await runSmall(scenario, { edits: [edit] });
  expect(verdictsOf(result)).toContain('twin');
});

test('a permission that a map of 6.12 adds unasked is, too', async () => {
  const edit = {
    file: 'src/pgtable/parallel/map.ts',
    find: 'const attributes = pgt.attributes.encode(prot);',
    replace: 'const attributes = pgt.attributes.encode(prot | 2);',
  };
  const slots = [{ base: FIRST, bytes: 8 * PAGE, logging: true }];
  const guest = { ...small('demand-paging').rounds[1]?.guest, writes: 0 } as GuestProgram;
  const rounds = [{ name: 'read', guest, hosts: [] }];
  const scenario = small('demand-paging', { kvm: '6.12', twin: true, slots, rounds });
  expect(verdictsOf(await runSmall(scenario))).toEqual(expect.not.arrayContaining(['twin']));
  expect(verdictsOf(await runSmall(scenario, { edits: [edit] }))).toContain('twin');
});

test('an edit of one generation is found by the other', async () => {
  const edit = {
    file: 'src/pgtable/stage2-attributes.ts',
    find: 'const WRITE: Attributes = new Attributes(S2_LO.S2AP_W, 0);',
    replace: 'const WRITE: Attributes = new Attributes(S2_LO.AF, 0);',
  };
  const result = await runSmall(small('permission-storm', { twin: true }), { edits: [edit] });
  expect(verdictsOf(result)).toContain('twin');
});
