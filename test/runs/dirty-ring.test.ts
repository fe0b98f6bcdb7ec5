/** Whole runs with dirty rings, which no profile has yet: the scenario is made here, past the check of workload files. */
import { describe, expect, test } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import { StuckError } from '../../src/main/user-error.ts';
import type { HostProgram, Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const PAGES = 6;
const RINGS: HostProgram = { action: 'collect-rings', times: null };

/** Guests that read and write a slot which logs, with rings of four entries. */
function logged(hosts: readonly HostProgram[]): Scenario {
  const guest = {
    kind: 'pattern',
    pattern: 'random',
    slot: 0,
    region: 'shared',
    touches: 25,
    writes: 0.5,
    stride: 1,
    exponent: 1,
  } as const;
  const backing = { kind: 'shared', pageBytes: 4096, offset: 0 } as const;
  return {
    ...small('demand-paging'),
    slots: [{ base: 0x4000_0000, bytes: PAGES * 4096, logging: true, backing }],
    frames: 2 * PAGES,
    dirtyRing: 4,
    setup: [],
    rounds: [{ name: 'write', guest, hosts }],
  };
}

describe.each(['explore', 'threads'] as const)('on %s', (engine) => {
  test.each(['legacy', '5.10'] as const)('profile %s: whatever has W is recorded', async (kvm) => {
    const scenario = { ...logged([RINGS]), kvm, twin: true };
    const { ok, violations, tlbi } = await runSmall(scenario, { engine, seeds: 3 });
    expect({ ok, violations }).toEqual({ ok: true, violations: [] });
    expect(tlbi.vmid).toBeGreaterThan(3);
  });
});

/** Verdicts of some seeds, or what the run ended with. */
async function endOf(scenario: Scenario, edits: readonly SourceEdit[] = []): Promise<string[]> {
  try {
    return verdictsOf(await runSmall(scenario, { seeds: 10, edits }));
  } catch (error) {
    const { message } = error as Error;
    return [error instanceof StuckError ? message.replace(/^.*?: (deadlock).*$/su, '$1') : message];
  }
}

test('nobody who collects: the vCPUs wait for room', async () => {
  expect((await endOf(logged([]))).join()).toContain('deadlock');
});

test.each([
  {
    name: 'an entry left out',
    edit: {
      file: 'src/kvm/user-mem-abort.ts',
      find: '  else yield* ring.push({ slot: slot.id, offset: gfn - slot.baseGfn });\n',
      replace: '',
    },
    end: 'dirty-lost',
  },
  {
    name: 'a reset that protects nothing',
    edit: {
      file: 'src/kvm/dirty-ring-reset.ts',
      find: 'if (batch !== null && joined === null) yield* protect(vm, batch);',
      replace: 'if (batch !== null && entries < 0) yield* protect(vm, batch);',
    },
    end: 'dirty-lost',
  },
])('$name: $end', async ({ edit, end }) => {
  expect(await endOf(logged([RINGS]), [edit])).toContain(end);
});

test('a vCPU that enters with a full ring: it runs over', async () => {
  const edit = {
    file: 'src/workers/dirty-rings.ts',
    find: '  if (ring === null || (yield* vcpu.mayEnter())) return;\n',
    replace: '  if (ring === null || ring !== null) return;\n',
  };
  expect((await endOf(logged([]), [edit])).join()).toContain('a dirty ring runs over');
});
