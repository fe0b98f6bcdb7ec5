import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import type { Pending } from '../../src/engine/execution.ts';
import { Order, load32, store32, type Op } from '../../src/engine/explore.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { Interrupts, interruptAll } from '../../src/machine/interrupts.ts';
import { TinyMachine, must, type Seen } from '../support/tiny-machine.ts';

class Bench {
  readonly machine = new TinyMachine({ cpus: 2 });
  readonly inside = this.machine.markers[0] as number;
  readonly done = this.machine.markers[1] as number;

  /** A section with interrupts off on CPU 0, with one store inside. */
  *section(): Op<void> {
    const interrupts = new Interrupts(this.machine.agent().interconnect, 0);
    yield* interrupts.disable();
    yield* store32(this.inside, 1, Order.once);
    yield* interrupts.enable();
  }

  *sender(): Op<void> {
    yield* interruptAll(this.machine.agent().interconnect);
    yield* store32(this.done, 1, Order.once);
  }

  /** Who stored what, in order. */
  story(seen: readonly Seen[]): string[] {
    return seen.flatMap(({ kind, at }) => {
      if (kind !== EventKind.store32) return [];
      if (at === this.inside) return ['inside'];
      return at === this.done ? ['taken'] : [];
    });
  }

  play(script: readonly ScriptLine[], agents: readonly (() => Op<void>)[]): string[] {
    const { result, seen } = this.machine.run(agents, new Scripted(script));
    must(result.outcome === 'completed', JSON.stringify(result));
    return this.story(seen);
  }
}

const isAt =
  (word: number) =>
  ({ at }: Pending): boolean =>
    at === word;
const isLoad = ({ kind }: Pending): boolean => kind === EventKind.load32;
const toEnd = (agent: number): ScriptLine => ({ agent, toEnd: true });

test('an interrupt waits for a section that has begun', () => {
  const bench = new Bench();
  const agents = [() => bench.section(), () => bench.sender()];
  const script = [{ agent: 0, until: isAt(bench.inside) }, toEnd(1)];
  expect(bench.play(script, agents)).toEqual(['inside', 'taken']);
});

test('it does not wait for a CPU with interrupts on', () => {
  const bench = new Bench();
  const agents = [() => bench.section(), () => bench.sender()];
  expect(bench.play([toEnd(1)], agents)).toEqual(['taken', 'inside']);
});

test('it does not wait for a section that begins after it was sent', () => {
  const bench = new Bench();
  const twice = function* (): Op<void> {
    yield* bench.section();
    yield* bench.section();
  };
  let sections = 0;
  // The sender has sent, and looks only when the second section runs.
  const isSecond = ({ at }: Pending): boolean => at === bench.inside && ++sections > 1;
  const script = [{ agent: 1, until: isLoad }, { agent: 0, until: isSecond }, toEnd(1)];
  expect(bench.play(script, [twice, () => bench.sender()])).toEqual(['inside', 'taken', 'inside']);
});

test('a guest that looks sees it as pending, once', () => {
  const bench = new Bench();
  const pending: boolean[] = [];
  const guest = function* (): Op<void> {
    const interrupts = new Interrupts(bench.machine.agent().interconnect, 0);
    yield* interrupts.disable();
    pending.push(yield* interrupts.isPending());
    yield* store32(bench.inside, 1, Order.once);
    pending.push(yield* interrupts.isPending());
    yield* interrupts.enable();
    yield* interrupts.disable();
    pending.push(yield* interrupts.isPending());
    yield* interrupts.enable();
  };
  const script = [{ agent: 0, until: isAt(bench.inside) }, toEnd(1)];
  expect(bench.play(script, [guest, () => bench.sender()])).toEqual(['inside', 'taken']);
  expect(pending).toEqual([false, true, false]);
});

/** What a sender publishes, a section that it did not wait for sees: the two cannot both miss each other. */
test('a section sees what was stored before an interrupt that did not wait for it', () => {
  const bench = new Bench();
  const flag = bench.machine.markers[2] as number;
  bench.machine.memory.baseline();
  for (let seed = 0; seed < 300; seed++) {
    bench.machine.memory.restore();
    let saw = 0;
    const section = function* (): Op<void> {
      const interrupts = new Interrupts(bench.machine.agent().interconnect, 0);
      yield* interrupts.disable();
      saw = yield* load32(flag, Order.acquire);
      yield* store32(bench.inside, 1, Order.once);
      yield* interrupts.enable();
    };
    const sender = function* (): Op<void> {
      yield* store32(flag, 1, Order.release);
      yield* bench.sender();
    };
    const { result, seen } = bench.machine.run([section, sender], new RandomScheduler(seed));
    expect(result).toMatchObject({ outcome: 'completed' });
    const wentFirst = bench.story(seen)[0] === 'taken';
    expect([wentFirst, saw === 1 || !wentFirst]).toEqual([wentFirst, true]);
  }
});
