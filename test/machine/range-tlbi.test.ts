/** Ranges cut into the pieces that an invalidation by range can name. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Vmid } from '../../src/machine/address.ts';
import { piecePages, rangePieces } from '../../src/machine/range-tlbi.ts';
import { NO_HINT, TlbiKind } from '../../src/machine/tlbi.ts';

const IPA = 0x4020_3000;
const vmid = 1 as Vmid;
const pieces = (pages: number, pageBytes = 0x1000): string[] =>
  rangePieces(vmid, { ipa: IPA, bytes: pages * pageBytes, pageBytes }).map((piece) => {
    const at = ((piece.ipa - IPA) / pageBytes).toString();
    return piece.kind === TlbiKind.ipa ? `${at}: page` : `${at}: ${piece.level} ${piece.num}`;
  });

describe('pieces of', () => {
  test.each([
    [0, []],
    [1, ['0: page']],
    [2, ['0: 0 0']],
    [3, ['0: 0 0', '2: page']],
    [63, ['0: 0 30', '62: page']],
    [64, ['0: 1 0']],
    [65, ['0: 1 0', '64: page']],
    [512, ['0: 1 7']],
    [2 ** 18, ['0: 3 3']],
    [2 ** 21, ['0: 3 31']],
    [2 ** 21 + 1, ['0: 3 31', '2097152: page']],
  ])('%d pages', (pages, expected) => {
    expect(pieces(pages)).toEqual(expected);
    expect(pieces(pages, 0x1_0000)).toEqual(expected);
  });
});

test('they lie end to end, and a single page has no level', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 22 }), (pages) => {
      let at = IPA;
      for (const piece of rangePieces(vmid, { ipa: IPA, bytes: pages * 4096, pageBytes: 4096 })) {
        expect(piece.ipa).toBe(at);
        const isPage = piece.kind === TlbiKind.ipa;
        expect(!isPage || piece.level === NO_HINT).toBe(true);
        at += (isPage ? 1 : piecePages(piece)) * 4096;
      }
      expect(at).toBe(IPA + pages * 4096);
    }),
  );
});
