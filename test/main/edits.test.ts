/** Source edits: what may be edited, and what an edited core does on both engines. */
import { read32, write32 } from '#port';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { editedSources, editsHash, EditError, type SourceEdit } from '../../src/main/edits.ts';
import { AgentPool } from '../../src/main/pool.ts';
import { runReport } from '../../src/main/report.ts';
import type { RunResult } from '../../src/main/result.ts';
import type { SharedWorld } from '../../src/main/shared-world.ts';
import { StuckError, UserError, endedEarly } from '../../src/main/user-error.ts';
import { runSmall, small, verdictsOf } from '../runs/small.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

const engines = ['threads', 'explore'] as const;

/** Edits whose effect is known. */
const planted = {
  noRelaxTlbi: {
    file: 'src/pgtable/stage2-attributes.ts',
    find: "if (outcome === 'ok') yield* pgt.ops.tlbFlushIpa(ipa, update.level);",
    replace: '',
  },
  noFlush: {
    file: 'src/kvm/dirty-log.ts',
    find: '  yield* vm.parts.mmu.tlbFlushVmid();',
    replace: '',
  },
  noWriteProtect: {
    file: 'src/kvm/dirty-log.ts',
    find: "yield* applyRange(vm, slot, 'wrprotect');",
    replace: '',
  },
  noGetPage: {
    file: 'src/pgtable/stage2-map.ts',
    find: 'yield* makeEntry(context, leaf);\n      yield* ops.getPage(entry);',
    replace: 'yield* makeEntry(context, leaf);',
  },
  throws: {
    file: 'src/kvm/user-mem-abort.ts',
    find: '    // 2 to 7',
    replace: "  if (request.access === 'write') throw new Error('planted bug');",
  },
  throwsLater: {
    file: 'src/kvm/user-mem-abort.ts',
    find: '    // 2 to 7',
    replace: "  if (request.isPermission) throw new Error('planted bug');",
  },
  noMemory: {
    file: 'src/kvm/guest-abort.ts',
    find: "  return result === 'ok' || result === 'again' ? 'resume' : result;",
    replace: "  return 'noMemory';",
  },
  harmless: {
    file: 'src/pgtable/stage2-attributes.ts',
    find: '    this.level = context.level;',
    replace: '    const { level } = context;\n    this.level = level;',
  },
} as const satisfies Record<string, SourceEdit>;

/** What must not differ between two runs of the same code. */
function behaviour({ eventDigest, faults, walks, tables, check, tlbi, seeds }: RunResult): object {
  return { eventDigest, total: faults.total, walks, tables, check, tlbi, seeds };
}

describe.each(engines)('on engine %s', (engine) => {
  test('a relax without its TLBI is a livelock', async () => {
    const run = runSmall(small('permission-storm'), { engine, edits: [planted.noRelaxTlbi] });
    await expect(run).rejects.toThrow(StuckError);
    await expect(run).rejects.toThrow(
      /vCPU \d, write of IPA 0x4000\w{4}: the access faults again and again although the host changes nothing$/,
    );
  });

  test('a write-protection without its flush leaves writes that never asked for W', async () => {
    const scenario = small('permission-storm', { vcpus: 1 });
    const result = await runSmall(scenario, { engine, edits: [planted.noFlush] });
    const leaves = Array.from({ length: 8 }, () => 'wrong-leaf');
    const unlogged = Array.from({ length: 8 }, () => 'dirty-lost');
    expect(verdictsOf(result)).toEqual([...leaves, 'digest', ...unlogged]);
    expect(result.faults.permission).toBe(0);
  });

  test('a write-protection that protects nothing leaves W that nobody asked for', async () => {
    const scenario = small('permission-storm', { vcpus: 1 });
    const rounds = scenario.rounds.filter(({ hosts }) => hosts.length > 0);
    const result = await runSmall(
      { ...scenario, rounds },
      { engine, edits: [planted.noWriteProtect] },
    );
    const leaves = Array.from({ length: 8 }, () => 'write-not-allowed');
    expect(verdictsOf(result)).toEqual([...leaves, 'digest']);
  });

  test('a leaf that takes no reference is found in the counts, at the first seed', async () => {
    const options = { engine, seeds: 5, edits: [planted.noGetPage] } as const;
    const result = await runSmall(small('permission-storm'), options);
    // Under `explore` the checker of events sees it where it happens, too.
    const early = engine === 'explore' ? ['table-count'] : [];
    expect(verdictsOf(result)).toEqual([...early, 'reference-count']);
    expect(result.seeds.count).toBe(1);
  });

  test('edited code that throws ends the run, and its threads', async () => {
    const close = vi.spyOn(AgentPool.prototype, 'close');
    const run = runSmall(small('permission-storm'), { engine, edits: [planted.throws] });
    await expect(run).rejects.toThrow(StuckError);
    await expect(run).rejects.toThrow(
      engine === 'threads'
        ? /^a worker died: planted bug; vCPU \d held slots_srcu \(read\)$/
        : /^seed 1: the edited code threw: Error: planted bug$/,
    );
    expect(close).toHaveBeenCalledOnce();
    expect(await close.mock.results[0]?.value).toBeUndefined();
  });

  test('an error for the user stays one', async () => {
    const run = runSmall(small('permission-storm'), { engine, edits: [planted.noMemory] });
    await expect(run).rejects.toThrow(UserError);
    await expect(run).rejects.toThrow(/: the host is out of memory; raise machine.memory/);
  });

  test('an abort ends the run, even in code that never ends', async () => {
    const endless = { ...planted.throws, replace: '  for (;;);' };
    const close = vi.spyOn(AgentPool.prototype, 'close');
    const abort = new AbortController();
    let looks = 0;
    const run = runSmall(small('permission-storm'), {
      engine,
      edits: [endless],
      signal: abort.signal,
      onProgress: ({ seed, faults }) => {
        expect(seed).toBe(1);
        looks += faults;
        // A vCPU is in its first fault.
        if (looks > 0) abort.abort();
      },
    });
    await expect(run).rejects.toThrow('aborted');
    expect(looks).toBeGreaterThan(0);
    expect(await close.mock.results[0]?.value).toBeUndefined();
  });

  test('the document counts the edits and tells them apart', async () => {
    const edits = [planted.harmless, planted.noGetPage];
    // One after another: the main thread verifies one memory at a time.
    const one = await runSmall(small('permission-storm'), { engine, edits: [planted.harmless] });
    const two = await runSmall(small('permission-storm'), { engine, edits });
    const none = await runSmall(small('permission-storm'), { engine, edits: [] });
    expect([one.ok, one.edits, one.editsHash]).toEqual([true, 1, editsHash([planted.harmless])]);
    expect([two.ok, two.edits, two.editsHash]).toEqual([false, 2, editsHash(edits)]);
    expect(Object.keys(none).filter((key) => key.startsWith('edits'))).toEqual([]);
  });
});

describe('under explore a harmless edit changes nothing', () => {
  test.each(['permission-storm', 'write-protect', 'demand-paging'])(
    '%s, seed after seed',
    async (name) => {
      const plain = await runSmall(small(name), { seeds: 2 });
      const edited = await runSmall(small(name), { seeds: 2, edits: [planted.harmless] });
      expect(verdictsOf(edited)).toEqual([]);
      expect(behaviour(edited)).toEqual(behaviour(plain));
    },
  );
});

describe('under explore what was found before a run got stuck is its result', () => {
  test.each([
    ['code that throws', planted.throwsLater, 'seed 1: the edited code threw: Error: planted bug'],
    [
      'a livelock',
      planted.noRelaxTlbi,
      expect.stringMatching(/^seed 1, step \d+: vCPU \d: .* the access faults again and again/u),
    ],
  ])('%s', async (_, end, message) => {
    const edits = [planted.noGetPage, end];
    const result = await runSmall(small('permission-storm'), { seeds: 2, edits });
    expect(result.violations.map(({ verdict }) => verdict)).toEqual(['table-count', 'stuck']);
    expect(result.violations.at(-1)).toMatchObject({ message });
    // A table that somebody is in the middle of is not compared with anything.
    expect([result.ok, result.seeds.count, result.check.digest]).toEqual([false, 1, 'none']);
    expect(runReport(result)).toContain('stage-2 table: not looked at, as the run did not end\n');
  });

  test('an error keeps its kind where nothing was found, and a user error always', () => {
    const findings = [{ verdict: 'table-count', message: 'what' }];
    const [stuck, bug, user] = [new StuckError('a'), new Error('b'), new UserError('c')];
    for (const error of [stuck, bug, user]) expect(endedEarly(error, [])).toBe(error);
    expect(endedEarly(user, findings)).toBe(user);
    expect(endedEarly(stuck, findings)).toMatchObject({
      name: 'StuckError',
      message: 'a',
      findings,
    });
    const message = 'the code threw: Error: b';
    expect(endedEarly(bug, findings)).toMatchObject({ name: 'StuckError', message, findings });
  });
});

test('under explore what the main thread wrote after a seed is undone before the next', async () => {
  const seen: number[] = [];
  const beforeVerify = ({ memory }: SharedWorld): void => {
    // Beyond all that the layout uses: no agent writes here.
    const last = memory.buffer.byteLength - 4;
    seen.push(read32(last));
    write32(last, 1);
  };
  const options = { seeds: 3, edits: [planted.harmless] };
  await runSmall(small('permission-storm'), options, { beforeVerify });
  expect(seen).toEqual([0, 0, 0]);
});

test('an edit of what engine threads never loads is refused', async () => {
  const edits = [
    {
      file: 'src/explore/random.ts',
      find: 'return runnable[uniformInt(this.#random, 0, runnable.length - 1)] as number;',
      replace: 'return runnable.at(-1) as number;',
    },
  ];
  await expect(runSmall(small('permission-storm'), { engine: 'threads', edits })).rejects.toThrow(
    'src/explore/random.ts: not loaded on engine threads: an edit would change nothing',
  );
  const explored = await runSmall(small('permission-storm'), { edits });
  const plain = await runSmall(small('permission-storm'));
  expect(explored.ok).toBe(true);
  expect(explored.eventDigest).not.toBe(plain.eventDigest);
});

describe('edited sources', () => {
  const file = 'src/pgtable/stage2-prot.ts';
  const find = 'return new Attributes(lo, (xn << S2_HI.XN_SHIFT) | (software << S2_HI.SW_SHIFT));';
  const edit = (replace: string, found: string = find): SourceEdit => ({
    file,
    find: found,
    replace,
  });

  test('hold the replacement in the place of the text, as it is', () => {
    const text = editedSources([edit('return null; // $& $1')]).get(file);
    expect(text).toContain('    return null; // $& $1\n  }');
    expect(text).not.toContain(find);
  });

  test('of several edits of a file: each sees what those before it made', () => {
    const texts = editedSources([edit('return first();'), edit('second()', 'first()')]);
    expect(texts.size).toBe(1);
    expect(texts.get(file)).toContain('    return second();\n  }');
  });

  test('may be broken on the way and mended', () => {
    const texts = editedSources([edit('return first(;'), edit('return null;', 'return first(;')]);
    expect(texts.get(file)).toContain('    return null;\n  }');
  });

  test('blame the edit that broke a file, not a later one', () => {
    const edits = [
      planted.harmless,
      edit('return first(;'),
      edit('* Later.', '* What a mapping allows.'),
    ];
    expect(() => editedSources(edits)).toThrow(EditError);
    expect(() => editedSources(edits)).toThrow(/^edit 2: replace: src\/pgtable\/stage2-prot\.ts: /);
  });

  test('have a fingerprint that knows content and order', () => {
    const [a, b] = [planted.noFlush, planted.noGetPage];
    const lists = [[a], [b], [a, b], [b, a], [{ ...a, replace: ' ' }]];
    expect(new Set(lists.map(editsHash)).size).toBe(lists.length);
    expect(editsHash([a])).toMatch(/^[0-9a-f]{32}$/);
    const { replace, find: text, file: name } = a;
    expect(editsHash([{ replace, find: text, file: name }])).toBe(editsHash([a]));
  });
});
