/** Userfaults: what waits, what resolves it, and that in no schedule a fault waits for ever or a page is brought twice. */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../../src/engine/events.ts';
import { RandomScheduler } from '../../../src/explore/random.ts';
import { Scripted } from '../../../src/explore/scripted.ts';
import { unmapArea } from '../../../src/kvm/host/areas.ts';
import { discardRange } from '../../../src/kvm/host/discard.ts';
import { fillShared } from '../../../src/kvm/host/filling.ts';
import type { HostMemory } from '../../../src/kvm/host/host-memory.ts';
import { migratePage } from '../../../src/kvm/host/migrate.ts';
import type { UserfaultMode } from '../../../src/kvm/host/userfault.ts';
import type { QueueCounts, UserfaultQueue } from '../../../src/kvm/host/userfault-queue.ts';
import {
  continuePage,
  copyPage,
  wakePage,
  zeroPage,
  type ResolveResult,
} from '../../../src/kvm/host/userfault-resolve.ts';
import type { VmArea, VmaSpec } from '../../../src/kvm/host/vma.ts';
import { HostLab, area, touch } from './host-lab.ts';

const PAGE = 4096;
const PAGES = 4;
const WAITERS = 5;
const FILLING = { lo: 0xab, hi: 0xcd };

function registered(kind: VmaSpec['kind'], mode: UserfaultMode, queues = 1): HostLab {
  const userfault = { mode, queues, waiters: WAITERS };
  return new HostLab([area(kind, 0, PAGES * PAGE, { userfault })], { frames: 24 });
}

const areaOf = (host: HostMemory): VmArea => host.mm.vmas.areas[0] as VmArea;
const queueOf = (host: HostMemory, i = 0): UserfaultQueue =>
  host.mm.queuesOf(areaOf(host))[i] as UserfaultQueue;
const counts = (lab: HostLab, queues = 1): QueueCounts[] =>
  Array.from({ length: queues }, (_, i) => queueOf(lab.host, i).counts());

/** A filled object behind a `shared` area. */
function fill(lab: HostLab): void {
  for (let page = 0; page < PAGES; page++)
    drive(fillShared(lab.mm, areaOf(lab.host), lab.hva(page), FILLING));
}

/** Threads that touch all pages, each from another on, and the number of those that are not done. */
class Crew {
  left = 0;
  /** Messages about pages that were there already. */
  late = 0;
  readonly #lab: HostLab;

  constructor(lab: HostLab) {
    this.#lab = lab;
  }

  toucher(agent: number): () => Op<void> {
    this.left++;
    const host = this.#lab.view(agent);
    const lab = this.#lab;
    const done = (): number => --this.left;
    return function* run(): Op<void> {
      for (let i = 0; i < PAGES; i++)
        yield* touch(host, lab.hva((i + agent) % PAGES), agent % 2 === 0);
      done();
      for (const queue of host.mm.queuesOf(areaOf(host))) yield* queue.ring();
    };
  }

  /** Serves a queue until all touchers are done. */
  handler(
    agent: number,
    queue: number,
    resolve: (host: HostMemory, page: number) => Op<ResolveResult>,
  ): () => Op<void> {
    const host = this.#lab.view(agent);
    const left = (): number => this.left;
    const noteLate = (): number => ++this.late;
    return function* run(): Op<void> {
      const served = queueOf(host, queue);
      for (;;) {
        const seen = yield* served.bell();
        const message = yield* served.next();
        if (message === null && left() === 0) return;
        if (message === null) yield* served.awaitBell(seen);
        else if ((yield* resolve(host, message.page)) === 'exists') noteLate();
      }
    };
  }
}

const copying = (host: HostMemory, page: number): Op<ResolveResult> =>
  copyPage(host.mm, host.mm.addressOf(page), FILLING);
const zeroing = (host: HostMemory, page: number): Op<ResolveResult> =>
  zeroPage(host.mm, host.mm.addressOf(page));
const continuing = (host: HostMemory, page: number): Op<ResolveResult> =>
  continuePage(host.mm, host.mm.addressOf(page));

const isCopying = ({ kind }: { readonly kind: number }): boolean => kind === EventKind.copy;

/** How often each page was resolved. */
function resolved(lab: HostLab): number[] {
  const at = areaOf(lab.host).userfault?.resolved ?? 0;
  return Array.from({ length: PAGES }, (_, i) => lab.memory.words[at / 4 + i] as number);
}

const CASES = [
  { name: 'anonymous, copied', kind: 'anonymous', mode: 'missing', resolve: copying },
  { name: 'anonymous, zero pages', kind: 'anonymous', mode: 'missing', resolve: zeroing },
  { name: 'shared, copied', kind: 'shared', mode: 'missing', resolve: copying },
  { name: 'shared, continued', kind: 'shared', mode: 'minor', resolve: continuing },
] as const;

describe.each(CASES)('$name', ({ kind, mode, resolve }) => {
  test.each([
    { queues: 1, handlers: 1 },
    { queues: 1, handlers: 2 },
    { queues: 2, handlers: 2 },
  ])('$queues queues, $handlers handlers: every fault ends, every page comes once', (shape) => {
    let withdrawn = 0;
    for (let seed = 0; seed < 60; seed++) {
      const lab = registered(kind, mode, shape.queues);
      if (mode === 'minor') fill(lab);
      const crew = new Crew(lab);
      const touchers = [0, 1, 2].map((agent) => crew.toucher(agent));
      const handlers = Array.from({ length: shape.handlers }, (_, i) =>
        crew.handler(3 + i, i % shape.queues, resolve),
      );
      lab.run(new RandomScheduler(seed), [...touchers, ...handlers]);
      expect(resolved(lab)).toEqual([1, 1, 1, 1]);
      for (const { waiting, queued, woken, withdrawn: back } of counts(lab, shape.queues)) {
        expect([waiting, queued]).toEqual([0, woken + back]);
        withdrawn += back;
      }
      // A lone handler is told twice of a page only by who did not wait after all.
      const late = shape.handlers === 1 ? crew.late : 0;
      expect(late).toBeLessThanOrEqual(counts(lab)[0]?.withdrawn ?? 0);
      expect(lab.wrong()).toEqual([]);
    }
    expect(withdrawn).toBeGreaterThan(0);
  });
});

test('a page that another agent brought between the look and the queue is not waited for', () => {
  const lab = registered('anonymous', 'missing');
  const [vcpu, handler] = [lab.view(0), lab.view(1)];
  const queueLock = areaOf(lab.host).userfault?.places[0]?.lock;
  const isQueueing = (pending: { kind: number; at: number }): boolean =>
    pending.kind === EventKind.add32 && pending.at === queueLock;
  lab.run(
    new Scripted([
      { agent: 0, until: isQueueing },
      { agent: 1, toEnd: true },
    ]),
    [() => touch(vcpu, lab.hva(0), true), () => copyPage(handler.mm, lab.hva(0), FILLING)],
  );
  expect(counts(lab)).toEqual([{ waiting: 0, queued: 1, woken: 0, withdrawn: 1 }]);
});

test('the area can go while a fault waits: the mmap lock is free, and the pin fails', () => {
  const lab = registered('anonymous', 'missing');
  const [vcpu, other] = [lab.view(0), lab.view(1)];
  let status = '';
  function* fault(): Op<void> {
    ({ status } = yield* vcpu.pin(lab.hva(2), false));
  }
  function* take(): Op<void> {
    const seen = yield* queueOf(other).bell();
    if (seen === 0) yield* queueOf(other).awaitBell(seen);
    yield* unmapArea(other.mm, lab.hva(0));
    expect(yield* copyPage(other.mm, lab.hva(2), FILLING)).toBe('invalid');
    yield* wakePage(other.mm, lab.hva(2));
  }
  lab.run(new RandomScheduler(1), [fault, take]);
  expect([status, ...counts(lab)]).toEqual([
    'fault',
    { waiting: 0, queued: 1, woken: 1, withdrawn: 0 },
  ]);
  expect(lab.wrong()).toEqual([]);
});

describe('what a resolution finds', () => {
  test('a page that is there is not replaced, and nobody is woken', () => {
    const lab = registered('anonymous', 'missing');
    expect(drive(copying(lab.host, 1))).toBe('done');
    expect(lab.entry(1)).toBe('page 0 W young');
    expect([drive(copying(lab.host, 1)), drive(zeroing(lab.host, 1))]).toEqual([
      'exists',
      'exists',
    ]);
    expect([lab.read(1), resolved(lab)]).toEqual([0xab, [0, 1, 0, 0]]);
    expect(lab.wrong()).toEqual([]);
  });

  test('only what the area is registered for, and a page of the object to go on with', () => {
    const missing = registered('shared', 'missing');
    expect([drive(continuing(missing.host, 0)), drive(zeroing(missing.host, 0))]).toEqual([
      'invalid',
      'invalid',
    ]);
    const minor = registered('shared', 'minor');
    expect([drive(continuing(minor.host, 0)), drive(copying(minor.host, 0))]).toEqual([
      'noPage',
      'invalid',
    ]);
    fill(minor);
    expect([drive(continuing(minor.host, 0)), drive(continuing(minor.host, 0))]).toEqual([
      'done',
      'exists',
    ]);
    expect([minor.read(0), minor.entry(0), minor.wrong()]).toEqual([0xab, 'page 0 W young', []]);
  });

  test('no frame', () => {
    const userfault = { mode: 'missing', queues: 1, waiters: WAITERS } as const;
    const lab = new HostLab([area('anonymous', 0, PAGES * PAGE, { userfault })], { frames: 1 });
    expect([drive(copying(lab.host, 0)), drive(copying(lab.host, 1))]).toEqual([
      'done',
      'noMemory',
    ]);
    expect([drive(zeroing(lab.host, 1)), lab.wrong()]).toEqual(['noMemory', []]);
  });

  test('a page that was discarded is a userfault again', () => {
    const lab = registered('anonymous', 'missing', 0);
    drive(copying(lab.host, 0));
    drive(discardRange(lab.mm, lab.range(0, 1)));
    expect(lab.pin(0, false).status).toBe('userfault');
    expect(drive(copying(lab.host, 0))).toBe('done');
    expect([lab.touch(0, false), resolved(lab)[0]]).toEqual([0, 2]);
  });

  test('a page of the object that is being moved is waited for', () => {
    const userfault = { mode: 'minor', queues: 0, waiters: WAITERS } as const;
    const vmas = [area('shared', 0, PAGE), area('shared', PAGE, PAGE, { userfault })];
    const lab = new HostLab(vmas, { frames: 4 });
    drive(touch(lab.host, lab.hva(0), true));
    const [mover, handler] = [lab.view(0), lab.view(1)];
    let result = '';
    lab.run(
      new Scripted([
        { agent: 0, until: isCopying },
        { agent: 1, toEnd: true },
      ]),
      [
        () => migratePage(mover.mm, lab.hva(0)),
        function* run(): Op<void> {
          result = yield* continuePage(handler.mm, lab.hva(1));
        },
      ],
    );
    expect([result, lab.entry(0), lab.entry(1)]).toEqual([
      'done',
      'page 1 W young',
      'page 1 W young',
    ]);
    expect(lab.wrong()).toEqual([]);
  });
});

test('without a queue whoever pins is told', () => {
  const lab = registered('shared', 'minor', 0);
  fill(lab);
  expect(lab.pin(3, true).status).toBe('userfault');
  drive(continuing(lab.host, 3));
  expect(lab.pin(3, true).status).toBe('page');
});

test('huge memory is not registered', () => {
  const userfault = { mode: 'missing', queues: 1, waiters: WAITERS } as const;
  expect(() => new HostLab([area('transparentHuge', 0, PAGE, { userfault })])).toThrow(
    'an area of kind transparentHuge cannot be registered with userfaultfd',
  );
});
