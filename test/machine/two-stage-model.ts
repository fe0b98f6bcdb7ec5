/** A plain recursive model of a translation by two stages: no caches, no retries, BigInt. */
import { UNRELIABLE_IPA } from '../../src/machine/guest-mmu.ts';
import type { Instruction } from '../../src/machine/instruction.ts';
import {
  PAGE,
  S1_AF,
  S1_DBM,
  S1_PXN,
  S1_RO,
  S2_AF,
  S2_W,
  S2_XN,
  pageOf,
  type Reached,
} from '../support/two-stage.ts';

/** What the model knows: stage-2 entries of the guest pages, and guest memory by `page index`. */
export interface TwoStageModel {
  readonly stage2: readonly bigint[];
  readonly memory: Map<string, bigint>;
  readonly ha: boolean;
  readonly hd: boolean;
}
type Kind = Instruction['accesses'][number];

/** Page of guest memory, or the status code of stage 2's fault. */
function second(
  world: TwoStageModel,
  ipa: bigint,
  kind: Kind,
): { page: number } | { code: number } {
  const n = Number((ipa - BigInt(pageOf(0))) / BigInt(PAGE));
  const bits = world.stage2[n];
  if (bits === undefined) return { code: n < 512 ? 0x07 : 0x06 };
  if ((bits & 1n) === 0n) return { code: 0x07 };
  if ((bits & S2_AF) === 0n) return { code: 0x0b };
  const allowed = { read: true, write: (bits & S2_W) !== 0n, exec: (bits & S2_XN) === 0n };
  return allowed[kind] ? { page: n } : { code: 0x0f };
}

function first(world: TwoStageModel, table: bigint, level: number, va: bigint, kind: Kind): string {
  const shift = 12n + 9n * BigInt(3 - level);
  const index = (va >> shift) & 511n;
  const at = table + index * 8n;
  const fetched = second(world, at, 'read');
  if ('code' in fetched) return `walk ${fetched.code.toString(16)} at ${at >> 12n}`;
  const key = `${fetched.page} ${index}`;
  const value = world.memory.get(key) ?? 0n;
  if ((value & 1n) === 0n) return `guest ${(4 + level).toString(16)}`;
  const next = value & 0xffff_ffff_f000n;
  if (level < 3 && (value & 2n) !== 0n) return first(world, next, level + 1, va, kind);
  if (level === 3 && (value & 2n) === 0n) return 'guest 7';
  if ((value & S1_AF) === 0n && !world.ha) return `guest ${(8 + level).toString(16)}`;
  const dirties = kind === 'write' && world.ha && world.hd && (value & S1_DBM) !== 0n;
  const updated = (value | S1_AF) & (dirties ? ~S1_RO : -1n);
  if (updated !== value) {
    const written = second(world, at, 'write');
    if ('code' in written) return `walk ${written.code.toString(16)} at ${at >> 12n}`;
    world.memory.set(key, updated);
  }
  const denied = {
    read: false,
    write: (updated & S1_RO) !== 0n,
    exec: (updated & S1_PXN) !== 0n,
  };
  if (denied[kind]) return `guest ${(12 + level).toString(16)}`;
  const mask = (1n << shift) - 1n;
  const ipa = (next & ~mask) | (va & mask);
  const reached = second(world, ipa, kind);
  if ('page' in reached) return `page ${reached.page} + ${ipa & 0xfffn}`;
  const where = reached.code === 0x0f ? 'somewhere' : ipa >> 12n;
  return `access ${reached.code.toString(16)} at ${where}`;
}

/** Where an instruction's access comes to, in words. Updates `memory` as hardware would. */
export function expected(world: TwoStageModel, va: number, { accesses }: Instruction): string {
  const outcomes: string[] = [];
  for (const kind of accesses) {
    outcomes.push(first(world, BigInt(pageOf(0)), 1, BigInt(va), kind));
    if (!outcomes.at(-1)?.startsWith('page')) break;
  }
  return outcomes.at(-1) as string;
}

/** The same words of what the machine did. */
export function told(reached: Reached): string {
  if ('at' in reached) return `page ${Math.floor(reached.at / PAGE)} + ${reached.at % PAGE}`;
  if ('guest' in reached) return `guest ${reached.guest.statusCode.toString(16)}`;
  const fault = reached.hypervisor;
  const what = fault.isStage1Walk() ? 'walk' : 'access';
  const ipa = fault.faultIpa();
  return `${what} ${fault.statusCode.toString(16)} at ${ipa === UNRELIABLE_IPA ? 'somewhere' : ipa / PAGE}`;
}
