/** Userfaults of a finished run: nobody waits, everybody who waited was woken, and user space brought each page once. */
import { read32 } from '#port';
import { NO_PTE } from '../../kvm/host/host-pte.ts';
import type { UserfaultLayout } from '../../kvm/host/userfault.ts';
import type { VmArea } from '../../kvm/host/vma.ts';
import type { World } from '../../workers/world.ts';
import type { Finding } from './verify.ts';

export function* userfaults(world: World): Iterable<Finding> {
  for (const area of world.vm.parts.host.mm.vmas.areas) {
    if (area.userfault === null) continue;
    yield* queues(world, area);
    yield* pages(world, area, area.userfault);
  }
}

function* queues({ vm }: World, area: VmArea): Iterable<Finding> {
  for (const queue of vm.parts.host.mm.queuesOf(area)) {
    const { waiting, queued, woken, withdrawn } = queue.counts();
    if (waiting === 0 && queued === woken + withdrawn) continue;
    yield {
      verdict: 'userfault-waiting',
      message: `of ${queued} faults that were queued ${woken} were woken, ${withdrawn} withdrawn, and ${waiting} wait`,
    };
  }
}

/** A page is missing again after each discard. */
function* pages(
  { vm, layout }: World,
  area: VmArea,
  registered: UserfaultLayout,
): Iterable<Finding> {
  const { mm } = vm.parts.host;
  const timesMax = 1 + read32(layout.words.discardEpoch);
  const first = mm.pageNumber(area.hva);
  for (let page = 0; page < area.bytes / mm.geometry.pageBytes; page++) {
    const hva = mm.addressOf(first + page);
    const times = read32(registered.resolved + page * 4);
    const where = `the page of user address 0x${hva.toString(16)}`;
    if (times > timesMax)
      yield {
        verdict: 'userfault-twice',
        message: `${where} was brought ${times} times, and missing ${timesMax} times at most`,
      };
    if (times === 0 && mm.table.find(hva).pte !== NO_PTE)
      yield { verdict: 'userfault-bypassed', message: `${where} is there, and nobody brought it` };
  }
}
