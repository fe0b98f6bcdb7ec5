/** Reading a dump's document back: everything in it is checked against the raw entries, which alone are believed. */
import { z } from 'zod';
import { Geometry, stage2Root } from '../../machine/geometry.ts';
import { decodeVtcr } from '../../machine/vtcr.ts';
import { dumpEntry, SpanMap, type DumpEntry } from '../../pgtable/dump.ts';
import { afterColon, fieldOf, type Path } from '../field-path.ts';
import { GRANULES, PAGE_SHIFTS } from '../granule.ts';
import type { Snapshot } from './snapshot.ts';
import { displayName, oneLine, readBytes } from '../input-file.ts';
import type { DumpDocument, DumpedEntry, DumpedInvalid } from '../result.ts';
import { UserError } from '../user-error.ts';

const addressMax = 2 ** 52 - 1;

const hex = z
  .string()
  .regex(/^0x[0-9a-fA-F]{1,16}$/u, 'expected 0x and at most 16 hexadecimal digits');
const address = z.int().min(0).max(addressMax);
const level = z.literal([0, 1, 2, 3]);
const attributes = z.record(z.string(), z.union([z.string(), z.number()]));

/** Keys may be added by later versions: unknown ones are left alone. */
const schema: z.ZodType<DumpDocument> = z.object({
  schema: z.literal('faultline.dump/1'),
  workload: z.string(),
  engine: z.enum(['threads', 'explore']),
  kvm: z.string(),
  vcpus: z.int().min(1),
  seed: z.int().min(0),
  geometry: z.object({
    granule: z.enum(GRANULES),
    ipaBits: z.int().min(32).max(52),
    startLevel: level,
    rootPages: z.int().min(1).max(16),
  }),
  vtcr: hex,
  vttbr: hex,
  entries: z.array(
    z.object({
      ipa: address,
      level,
      kind: z.enum(['table', 'block', 'page']),
      descriptor: hex,
      oa: address,
      attributes,
    }),
  ),
  invalid: z.array(z.object({ ipa: address, level, descriptor: hex, attributes })),
});

/**
 * Reads a document that `faultline dump --json` wrote.
 * @throws UserError of one line, `file: field: what is wrong`.
 */
export function readDump(file: string): Snapshot {
  return new DumpReader(displayName(file)).read(readBytes(file));
}

class DumpReader {
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  read(bytes: Uint8Array): Snapshot {
    const { entries, invalid, ...head } = this.#shape(this.#parse(bytes));
    const geometry = this.#format(head);
    const { startLevel, ipaBits } = head.geometry;
    const map = new SpanMap({ geometry, startLevel, iaLimit: 2 ** ipaBits });
    const sorted = depthFirst([
      ...entries.map((row, i) => this.#entry(row, geometry, ['entries', i])),
      ...invalid.map((row, i) => this.#invalid(row, geometry, ['invalid', i])),
    ]);
    for (const { entry, path } of sorted) {
      const problem = map.place(entry);
      if (problem !== null) throw this.#problem([...path, 'ipa'], problem);
    }
    return { head, geometry, entries: sorted.map(({ entry }) => entry) };
  }

  #parse(bytes: Uint8Array): unknown {
    if (bytes.length === 0) throw this.#problem([], 'the file is empty');
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (error) {
      throw this.#problem([], `not JSON: ${(error as Error).message}`);
    }
  }

  #shape(value: unknown): DumpDocument {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const { path = [], message = 'not a dump' } = result.error.issues[0] ?? {};
    throw this.#problem(path as Path, afterColon(message));
  }

  /** How entries are written, which VTCR_EL2 says; `geometry` may not say otherwise. */
  #format({ geometry: said, vtcr }: Snapshot['head']): Geometry {
    const regime = this.#regime(vtcr);
    const geometry = new Geometry(PAGE_SHIFTS[said.granule], regime.lpa2 && said.granule !== '64K');
    const root = stage2Root(geometry, said.ipaBits);
    const isSame =
      regime.pageShift === geometry.pageShift &&
      regime.ipaBits === said.ipaBits &&
      regime.startLevel === said.startLevel &&
      root.startLevel === said.startLevel &&
      root.pages === said.rootPages;
    if (!isSame) throw this.#problem(['geometry'], `not what vtcr ${vtcr} configures`);
    return geometry;
  }

  #regime(vtcr: string): ReturnType<typeof decodeVtcr> {
    try {
      return decodeVtcr(Number(BigInt(vtcr)));
    } catch (error) {
      throw this.#problem(['vtcr'], (error as Error).message);
    }
  }

  #entry(row: DumpedEntry, geometry: Geometry, path: Path): Placed {
    const entry = dumpEntry({ ...row, value: BigInt(row.descriptor) }, geometry);
    const { kind, oa } = entry;
    if (kind !== row.kind) {
      throw this.#problem([...path, 'kind'], `${row.kind}, but the descriptor is of kind ${kind}`);
    }
    if (oa !== row.oa) {
      throw this.#problem([...path, 'oa'], `${row.oa}, but the descriptor says ${oa}`);
    }
    this.#sameAttributes(row, entry, path);
    return { entry, path };
  }

  #invalid(row: DumpedInvalid, geometry: Geometry, path: Path): Placed {
    const entry = dumpEntry({ ...row, value: BigInt(row.descriptor) }, geometry);
    if (entry.kind !== 'invalid') {
      throw this.#problem([...path, 'descriptor'], `a ${entry.kind}, not an invalid entry`);
    }
    if (entry.value === 0n) throw this.#problem([...path, 'descriptor'], 'an empty entry');
    this.#sameAttributes(row, entry, path);
    return { entry, path };
  }

  #sameAttributes(row: DumpedInvalid, entry: DumpEntry, path: Path): void {
    const names = new Set([...Object.keys(row.attributes), ...Object.keys(entry.attributes)]);
    for (const name of names) {
      const [said, decoded] = [row.attributes[name], entry.attributes[name]];
      if (said === decoded) continue;
      throw this.#problem(
        [...path, 'attributes', name],
        `${said ?? 'missing'}, but the descriptor says ${decoded ?? 'nothing of it'}`,
      );
    }
  }

  #problem(path: Path, message: string): UserError {
    const field = fieldOf(path);
    const place = field === '' ? this.#name : `${this.#name}: ${field}`;
    return new UserError(oneLine(`${place}: ${message}`));
  }
}

interface Placed {
  readonly entry: DumpEntry;
  /** Where the document has it. */
  readonly path: Path;
}

/** Tables before what they hold. */
function depthFirst(placed: readonly Placed[]): Placed[] {
  return placed.toSorted(({ entry: a }, { entry: b }) => a.ipa - b.ipa || a.level - b.level);
}
