/**
 * The 65 rows of the kernel's page_fault_test (selftests reference): an access to a page under a condition of its slots and of the memory behind
 * it, with what user space must count. Stricter than the original in one thing: slots are made after the guest cleared the access flag of its
 * descriptor, so the dirty log tells what the access did and nothing else.
 */
import { describe, expect, test } from 'vitest';
import {
  COMPARE_AND_SWAP,
  DC_ZVA,
  FETCH,
  LOAD_INDEXED,
  STORE_INDEXED,
  load,
  store,
} from '../../src/machine/instruction.ts';
import { DATA_REGISTER } from '../../src/workers/guest-core.ts';
import { CODE, CODE_VA, PageFaultGuest, VA, VALUE, type Condition } from '../support/page-fault.ts';

const ACCESSES = {
  read64: load(8, DATA_REGISTER),
  write64: store(8, DATA_REGISTER),
  cas: COMPARE_AND_SWAP,
  at: 'AT',
  dc_zva: DC_ZVA,
  ld_preidx: LOAD_INDEXED,
  st_preidx: STORE_INDEXED,
  exec: FETCH,
} as const;
type AccessName = keyof typeof ACCESSES;
const isWrite = (name: AccessName): boolean =>
  ['write64', 'cas', 'dc_zva', 'st_preidx'].includes(name);

/** What accesses load. */
const LOADED = new Map<AccessName, number>([
  ['read64', 0],
  ['ld_preidx', 0],
  ['exec', CODE],
]);

/** An access, with the access flag by hardware or without, and how many missing pages user space is asked for. */
interface Row {
  readonly name: AccessName;
  readonly accessFlag: boolean;
  readonly userfaults: number;
}

const PLAIN: Condition = {
  accessFlag: false,
  isYoung: true,
  hole: 'none',
  userfault: false,
  isReadonly: false,
  isLogging: false,
};
const ASKED = { hole: 'both', userfault: true } as const;

const AF = true;
const NO_AF = false;
const ALL = Object.keys(ACCESSES) as AccessName[];
const ALL_BUT_AT = ALL.filter((name) => name !== 'at');
const ALL_BUT_EXEC = ALL.filter((name) => name !== 'exec');
const rows = (names: readonly AccessName[], accessFlag: boolean, userfaults = 0): Row[] =>
  names.map((name) => ({ name, accessFlag, userfaults }));

const GROUPS: readonly (readonly [string, Partial<Condition>, readonly Row[]])[] = [
  ['1: the access flag by hardware', {}, rows(ALL_BUT_AT, AF)],
  ['2: a hole in the data', { hole: 'data' }, rows(ALL_BUT_EXEC, NO_AF)],
  [
    '3: holes in data and tables, asked for',
    ASKED,
    [...rows(ALL_BUT_AT, AF, 2), ...rows(['read64'], NO_AF, 2), ...rows(['at'], NO_AF, 1)],
  ],
  [
    '4: dirty logging',
    { isLogging: true },
    [...rows(ALL_BUT_AT, AF), ...rows(['read64', 'at'], NO_AF)],
  ],
  [
    '5: dirty logging, and holes asked for',
    { isLogging: true, ...ASKED },
    [...rows(ALL_BUT_AT, AF, 2), ...rows(['read64'], NO_AF, 2), ...rows(['at'], AF, 1)],
  ],
  ['6: read-only slots', { isReadonly: true }, rows(ALL, NO_AF)],
  ['7: read-only slots that log', { isReadonly: true, isLogging: true }, rows(ALL, NO_AF)],
  [
    '8: read-only slots, and holes asked for',
    { isReadonly: true, ...ASKED },
    // Of a write with a syndrome user space asks for the page itself, when it makes the access; `cas` reads first, and gets the page.
    [
      ...rows(['read64', 'ld_preidx', 'exec', 'write64', 'cas'], NO_AF, 2),
      ...rows(['at', 'dc_zva', 'st_preidx'], NO_AF, 1),
    ],
  ],
];

/** How the access ends. */
function endOf(name: AccessName, { isReadonly }: Condition): string {
  if (name === 'at') return '40000000';
  if (!isReadonly || !isWrite(name)) return 'done';
  return name === 'write64' ? 'exit' : 'noSystemCall';
}

/** What is afterwards in the register, which held what a write writes, and in memory. */
function valuesOf(name: AccessName, end: string): { loaded: number; stored: number } {
  const isStored = isWrite(name) && name !== 'dc_zva' && end !== 'noSystemCall';
  return {
    loaded: LOADED.get(name) ?? VALUE,
    stored: isStored ? VALUE : 0,
  };
}

test('there are 65 rows', () => {
  expect(GROUPS.map(([, , group]) => group.length)).toEqual([7, 7, 9, 9, 9, 8, 8, 8]);
});

/** Makes the access of a row: all that can be seen of it. */
function seenOf({ name }: Row, condition: Condition): object {
  const guest = new PageFaultGuest(condition);
  const end = guest.execute(name === 'exec' ? CODE_VA : VA, ACCESSES[name]);
  const { counts, isYoung, loaded, stored } = guest;
  return { end, counts, isYoung, loaded, stored, dirty: guest.dirty(condition) };
}

function expectedOf({ name, userfaults }: Row, condition: Condition): object {
  const end = endOf(name, condition);
  const isLogged = condition.isLogging && !condition.isReadonly;
  return {
    end,
    counts: {
      userfaults,
      mmioExits: end === 'exit' ? 1 : 0,
      failedRuns: end === 'noSystemCall' ? 1 : 0,
    },
    isYoung: true,
    ...valuesOf(name, end),
    // A walk that sets the access flag writes to the table, one that does not only reads it.
    dirty: { data: isLogged && isWrite(name), table: isLogged && !condition.isYoung },
  };
}

describe.each(GROUPS)('group %s', (_, part, group) => {
  test.each(group)('$name, access flag by hardware: $accessFlag', (row) => {
    const { accessFlag } = row;
    const condition = { ...PLAIN, ...part, accessFlag, isYoung: !accessFlag };
    expect(seenOf(row, condition)).toEqual(expectedOf(row, condition));
  });

  // Nothing but the dirty bit of the table depends on who sets the access flag; a table in a read-only slot must have it.
  test.each(group)('$name, the other way round', (row) => {
    const accessFlag = !row.accessFlag;
    const isYoung = !accessFlag || part.isReadonly === true;
    const condition = { ...PLAIN, ...part, accessFlag, isYoung };
    expect(seenOf(row, condition)).toEqual(expectedOf(row, condition));
  });
});

test.each(ALL_BUT_AT)('%s: a table in a read-only slot whose access flag is to be set', (name) => {
  const condition = { ...PLAIN, isReadonly: true, accessFlag: true, isYoung: false };
  const guest = new PageFaultGuest(condition);
  const va = name === 'exec' ? CODE_VA : VA;
  expect(guest.execute(va, ACCESSES[name])).toBe('injected');
  const exception = name === 'exec' ? 'prefetchAbort' : 'dataAbort';
  expect(guest.core.vcpu.injected).toEqual({ exception, far: va });
  expect([guest.isYoung, guest.stored]).toEqual([false, 0]);
});
