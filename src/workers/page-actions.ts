/** What the host does to a page of a slot while the guest runs: each operation of `src/kvm/host` that keeps contents. */
import type { Op } from '#port';
import { clearFlushYoungPage } from '../kvm/host/age.ts';
import { collapseBlock } from '../kvm/host/collapse.ts';
import { writeProtectRange } from '../kvm/host/discard.ts';
import { mergePages } from '../kvm/host/merge.ts';
import { migratePage } from '../kvm/host/migrate.ts';
import type { Mm } from '../kvm/host/mm.ts';
import { reclaimPage } from '../kvm/host/reclaim.ts';
import { splitBlock } from '../kvm/host/split.ts';
import type { Hva } from '../machine/address.ts';
import type { PageAction } from './scenario.ts';

/** Does `action` to the page of `hva`; `other` is a second page, for what takes two. What cannot be done to it is passed over. */
export function* actOnPage(mm: Mm, action: PageAction, hva: Hva, other: Hva): Op<void> {
  if (action === 'migrate') yield* migratePage(mm, hva);
  else if (action === 'swap') yield* reclaimPage(mm, hva);
  else if (action === 'collapse') yield* collapseBlock(mm, hva);
  else if (action === 'split') yield* splitBlock(mm, hva);
  else if (action === 'merge') yield* mergePages(mm, hva, other);
  else if (action === 'age') yield* clearFlushYoungPage(mm, hva);
  else yield* writeProtectRange(mm, { hva, bytes: mm.geometry.pageBytes });
}
