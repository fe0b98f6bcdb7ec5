/**
 * What user space does to a whole slot while the guest runs: each pass ends with the slots as they were. Guests whose slot is away meanwhile
 * wait in user space (user-space.ts).
 */
import { Order, add32, type Op } from '#port';
import type { VmaSpec } from '../kvm/host/vma.ts';
import { ioremap } from '../kvm/ioremap.ts';
import { regionOf, type MemoryRegion } from '../kvm/memslot-update.ts';
import { SlotFlag } from '../kvm/memslots.ts';
import { applyRange } from '../kvm/range.ts';
import type { Vm } from '../kvm/vm.ts';
import { AgentFailure } from './failure.ts';
import { spareSlotId } from './layout.ts';
import type { SlotProgram } from './scenario.ts';
import { noteLogBegun } from './slot-log.ts';
import { requestRegionLocked } from './slot-request.ts';
import type { World } from './world.ts';

/** One pass of a program, by this agent of the host. */
export function* actOnSlot(world: World, program: SlotProgram, host: number): Op<void> {
  if (program.action === 'add-slot') yield* addSlot(world, program, host);
  else if (program.action === 'replace-slot') yield* replaceSlot(world, program.slot);
  else if (program.action === 'move-slot') yield* moveSlot(world, program);
  else yield* remapRegisters(world, program);
}

/** A second slot over the memory of one, at an address that no guest knows: created, then deleted. */
function* addSlot(world: World, program: SlotProgram, host: number): Op<void> {
  const { hva, bytes } = world.layout.host.vmas[program.slot] as VmaSpec;
  const id = spareSlotId(world.layout, host);
  const added = { id, ipa: program.base, hva, bytes, flags: 0 };
  yield* request(world, added);
  yield* request(world, { ...added, bytes: 0 });
}

/**
 * Deleted and created again: two requests, between which user space lets none of its other threads change slots, as it must that
 * looks a slot up before it asks for a change. A log begins anew, clean: who harvests it copies the whole slot once more.
 */
function* replaceSlot(world: World, id: number): Op<void> {
  const { slotsLock } = world.vm.parts.memslots;
  yield* slotsLock.lock();
  const region = yield* presentRegionLocked(world.vm, id);
  yield* requestLocked(world, { ...region, bytes: 0 });
  yield* requestLocked(world, region);
  if ((region.flags & SlotFlag.logDirty) !== 0) yield* noteLogBegun(world.layout, id);
  yield* slotsLock.unlock();
}

/** Away, and back to where the scenario has it: guests never know the other place. */
function* moveSlot(world: World, { slot, base }: SlotProgram): Op<void> {
  const home = world.scenario.slots[slot];
  if (home === undefined) throw new Error(`no slot ${slot}`);
  yield* moveTo(world, slot, base);
  yield* moveTo(world, slot, home.base);
}

/** With the flags that it has by now: another agent may have turned its log on. */
function* moveTo(world: World, id: number, ipa: number): Op<void> {
  const { slotsLock } = world.vm.parts.memslots;
  yield* slotsLock.lock();
  yield* requestLocked(world, { ...(yield* presentRegionLocked(world.vm, id)), ipa });
  yield* slotsLock.unlock();
}

/**
 * The registers of a slot, mapped by the kernel itself, and unmapped. In `legacy` a page that is mapped already ends it (-EFAULT): in the
 * device's own slot guests, and its creation, map them too.
 */
function* remapRegisters(world: World, program: SlotProgram): Op<void> {
  const { vm, scenario, layout, failures } = world;
  const { base: ipa, slot } = program;
  const { struck } = failures;
  const { hva, bytes } = layout.host.vmas[slot] as VmaSpec;
  const isWritable = scenario.slots[slot]?.isReadonly !== true;
  const outcome = yield* ioremap(vm, { ipa, phys: vm.parts.host.lookup(hva), bytes, isWritable });
  if (outcome === 'noMemory' && failures.struck === struck)
    throw new AgentFailure('noMemory', `ioremap of slot ${slot}`);
  yield* add32(layout.words.mappingsTaken, 1, Order.full);
  yield* applyRange(vm, { ipa, bytes }, 'unmap');
}

/** The request that would make a slot as it is. */
function* presentRegionLocked({ parts }: Vm, id: number): Op<MemoryRegion> {
  const slot = yield* parts.memslots.byIdLocked(id);
  if (slot === undefined) throw new Error(`slot ${id} is gone`);
  return regionOf(slot);
}

function* request(world: World, region: MemoryRegion): Op<void> {
  const { slotsLock } = world.vm.parts.memslots;
  yield* slotsLock.lock();
  yield* requestLocked(world, region);
  yield* slotsLock.unlock();
}

/** @throws AgentFailure without memory. */
function* requestLocked(world: World, region: MemoryRegion): Op<void> {
  const outcome = yield* requestRegionLocked(world, region);
  const where = `slot ${region.id} at IPA 0x${region.ipa.toString(16)}`;
  if (outcome === 'noMemory') throw new AgentFailure('noMemory', where);
  if (outcome !== 'ok') throw new Error(`${where}: ${outcome}`);
}
