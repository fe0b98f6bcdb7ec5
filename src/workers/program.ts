/** Guest programs as data: expanded to the accesses that a vCPU makes, before it enters the guest. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import { scattered } from '../engine/splitmix.ts';
import { pageBytesOf } from '../machine/shape.ts';
import type { Layout } from './layout.ts';
import {
  TRACE_PAGE_BYTES,
  type GuestProgram,
  type PatternProgram,
  type PreFaultProgram,
  type Scenario,
  type TraceProgram,
} from './scenario.ts';

/** Kinds of access as numbers. */
export const Touch = { read: 0, write: 1, exec: 2 } as const;

/** The accesses of one vCPU in one phase, in order. */
export interface Accesses {
  /** The first address of each page. */
  readonly ipas: Float64Array;
  /** Index of each page over all slots. */
  readonly pages: Uint32Array;
  /** {@link Touch} values. */
  readonly kinds: Uint8Array;
}

/** Expands a phase's program for one vCPU. Equal arguments give equal accesses. */
export function expandProgram(
  scenario: Scenario,
  layout: Layout,
  program: GuestProgram,
  agent: { readonly vcpu: number; readonly seed: number },
): Accesses {
  const whole =
    program.kind === 'trace'
      ? expandTrace(scenario, layout, program, agent.vcpu)
      : expandPattern(scenario, patternOf(program), agent);
  const kept = program.kind === 'prefault' ? null : program.kept?.[agent.vcpu];
  return kept ? partOf(whole, kept) : whole;
}

function partOf({ ipas, pages, kinds }: Accesses, kept: readonly number[]): Accesses {
  const part = emptyAccesses(kept.length);
  for (const [i, index] of kept.entries()) {
    part.ipas[i] = ipas[index] as number;
    part.pages[i] = pages[index] as number;
    part.kinds[i] = kinds[index] as number;
  }
  return part;
}

/** What is mapped in advance is what reads of every page of the region would have mapped. */
function patternOf(program: PatternProgram | PreFaultProgram): PatternProgram {
  if (program.kind === 'pattern') return program;
  const { slot, region } = program;
  const reads = {
    pattern: 'sequential',
    touches: null,
    writes: 0,
    stride: 1,
    exponent: 1,
  } as const;
  return { kind: 'pattern', slot, region, ...reads };
}

function expandPattern(
  scenario: Scenario,
  program: PatternProgram,
  agent: { readonly vcpu: number; readonly seed: number },
): Accesses {
  const slot = scenario.slots[program.slot];
  if (slot === undefined) throw new Error(`no slot ${program.slot}`);
  const pageBytes = pageBytesOf(scenario.machine);
  const random = xoroshiro128plus(scattered(agent.seed * 0x1000 + agent.vcpu));
  const all = slot.bytes / pageBytes;
  const share = program.region === 'shared' ? all : Math.floor(all / scenario.vcpus);
  const first = program.region === 'shared' ? 0 : share * agent.vcpu;
  const firstIndex = scenario.slots
    .slice(0, program.slot)
    .reduce((sum, s) => sum + s.bytes / pageBytes, 0);
  const touches = program.touches ?? share;
  const next = pageSequence(program, share, random);
  const accesses = emptyAccesses(touches);
  for (let i = 0; i < touches; i++) {
    const page = first + next(i);
    accesses.ipas[i] = slot.base + page * pageBytes;
    accesses.pages[i] = firstIndex + page;
    accesses.kinds[i] = isWrite(program.writes, random) ? Touch.write : Touch.read;
  }
  return accesses;
}

/** Page of the i-th touch within a region of `pages` pages. */
function pageSequence(
  program: PatternProgram,
  pages: number,
  random: RandomGenerator,
): (i: number) => number {
  const sequences = {
    sequential: () => (i: number) => i % pages,
    strided: () => stridedSequence(program.stride, pages),
    random: () => () => uniformInt(random, 0, pages - 1),
    zipf: () => zipfSequence(program.exponent, pages, random),
  };
  return sequences[program.pattern]();
}

/** Every `stride`-th page; each turn around the region starts one page later, so that all pages are reached. */
function stridedSequence(stride: number, pages: number): (i: number) => number {
  const perTurn = Math.ceil(pages / stride);
  return (i) => {
    const turn = Math.floor(i / perTurn);
    return ((i % perTurn) * stride + turn) % pages;
  };
}

/** Rank r with probability proportional to 1 / r^exponent, by the inverse of the cumulated weights. */
function zipfSequence(
  exponent: number,
  pages: number,
  random: RandomGenerator,
): (i: number) => number {
  const cumulated = new Float64Array(pages);
  let sum = 0;
  for (let rank = 0; rank < pages; rank++) {
    sum += (rank + 1) ** -exponent;
    cumulated[rank] = sum;
  }
  return () => {
    const target = (uniformInt(random, 0, 0x3fffffff) / 0x40000000) * sum;
    let low = 0;
    let high = pages - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((cumulated[middle] as number) > target) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

function isWrite(share: number, random: RandomGenerator): boolean {
  if (share >= 1) return true;
  return share > 0 && uniformInt(random, 0, 0x3fffffff) < share * 0x40000000;
}

/** A trace's pages have 4 KiB; a page of the machine may hold several of them. */
function expandTrace(
  scenario: Scenario,
  layout: Layout,
  program: TraceProgram,
  vcpu: number,
): Accesses {
  const { pages, kinds } = program;
  const pageBytes = pageBytesOf(scenario.machine);
  const accesses = emptyAccesses(pages.length);
  accesses.kinds.set(kinds);
  const shift = vcpu * program.vcpuPages;
  pages.forEach((page, i) => {
    const gfn = Math.floor(((page + shift) * TRACE_PAGE_BYTES) / pageBytes);
    accesses.ipas[i] = gfn * pageBytes;
    accesses.pages[i] = pageIndex(layout, gfn);
  });
  return accesses;
}

/** Index over all slots of a guest frame number. */
function pageIndex(layout: Layout, gfn: number): number {
  let before = 0;
  for (const slot of layout.slots) {
    if (gfn >= slot.baseGfn && gfn < slot.baseGfn + slot.pages) return before + gfn - slot.baseGfn;
    before += slot.pages;
  }
  throw new Error(`the trace touches guest frame ${gfn}, outside every slot`);
}

function emptyAccesses(length: number): Accesses {
  return {
    ipas: new Float64Array(length),
    pages: new Uint32Array(length),
    kinds: new Uint8Array(length),
  };
}
