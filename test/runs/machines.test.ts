/** Shipped workloads on machines of other granules, sizes and features; `npm run campaign` has the whole matrix. */
import { expect, test } from 'vitest';
import { reshaped, shapeName, shapes, type Shape } from '../../scripts/reshaped.ts';
import { shippedWorkloads } from '../../src/main/input-file.ts';
import type { RunResult } from '../../src/main/result.ts';
import { movesPages, type Scenario } from '../../src/workers/scenario.ts';
import { guestTablePages, runSmall, small } from './small.ts';

/** Every granule, every size, LPA2, FWB and two-bit XN at least once. */
const SAMPLE: readonly Shape[] = [
  '4K FWB XNX, 32 bits',
  '4K LPA2, 52 bits',
  '16K, 40 bits',
  '16K LPA2 FWB XNX, 52 bits',
  '64K, 48 bits',
  '64K FWB XNX, 52 bits',
].map(shapeNamed);

function shapeNamed(name: string): Shape {
  const shape = shapes().find((candidate) => shapeName(candidate) === name);
  if (shape === undefined) throw new Error(`no shape ${name}`);
  return shape;
}

/** What a run came to, as far as the shape of the machine may change it. */
function summaryOf({ ok, violations, tables, walks, twin }: RunResult): object {
  const { min, max } = walks.translation;
  return { ok, violations, leaves: tables.leaves, walks: [min, max], equal: twin?.equal };
}

/** No violation; all leaves are pages of the granule, as many as the reference has, and those of the guest's tables. Where the host moves pages, a fault of its own may walk. */
function passed({ check, walks }: RunResult, scenario: Scenario): object {
  const { machine } = scenario;
  const pages = check.leaves + guestTablePages(scenario);
  const leaves = new Map<number, object>([
    [12, { '4K': pages, '2M': 0, '1G': 0 }],
    [14, { '16K': pages, '32M': 0 }],
    [16, { '64K': pages, '512M': 0 }],
  ]);
  return {
    ok: true,
    violations: [],
    leaves: leaves.get(machine.pageShift),
    walks: movesPages(scenario) ? [1, walks.translation.max] : [1, 1],
    equal: scenario.twin ? true : undefined,
  };
}

/** Each workload on one of the shapes. */
const CASES = shippedWorkloads().map((workload, i) => {
  const shape = SAMPLE[i % SAMPLE.length] as Shape;
  return { workload, shape, name: shapeName(shape) };
});

test.each(CASES)('$workload and its twin pass under explore: $name', async (each) => {
  const scenario = reshaped(small(each.workload, { twin: true }), each.shape);
  const result = await runSmall(scenario);
  expect(summaryOf(result)).toEqual(passed(result, scenario));
});

test.each(
  SAMPLE.map((shape, i) => {
    const workload = shippedWorkloads()[(i + 3) % shippedWorkloads().length] ?? '';
    return { name: shapeName(shape), shape, workload, port: i % 2 === 0 ? 'wasm' : 'js' } as const;
  }),
)('$workload passes on threads ($port): $name', async ({ shape, workload, port }) => {
  const scenario = reshaped(small(workload), shape);
  const result = await runSmall(scenario, { engine: 'threads', port });
  expect(summaryOf(result)).toEqual(passed(result, scenario));
});

test('a trace runs over pages of 64 KiB: fewer leaves, the same accesses', async () => {
  const plain = await runSmall(small('real-program'));
  const wide = await runSmall(reshaped(small('real-program'), shapeNamed('64K, 48 bits')));
  expect(wide.guestAccesses).toBe(plain.guestAccesses);
  expect(wide.check.leaves).toBeLessThan(plain.check.leaves);
});
