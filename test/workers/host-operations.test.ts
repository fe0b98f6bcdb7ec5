/** User space changes the log of a whole slot: patience with failures on purpose, and none with others. */
import { drive } from '#port';
import { expect, test, vi } from 'vitest';
import { enableDirtyLog, setDirtyLog } from '../../src/workers/host-operations.ts';
import { Lab, PAGE, RAM } from '../support/lab.ts';

/** Attempt 1 is the creation of the slot. */
const labOf = (first: number): Lab =>
  new Lab({
    slots: [{ base: RAM, bytes: 2 * PAGE, logging: false }],
    failures: [{ site: 'prepare', first, every: null }],
  });

test('a log whose preparation fails on purpose begins at the next attempt', () => {
  const lab = labOf(2);
  const user = lab.view();
  expect([drive(enableDirtyLog(user, lab.slot)), lab.slot.isLogging()]).toEqual([true, true]);
  expect(user.failures.struck).toBe(1);
  expect([drive(setDirtyLog(user, 0, false)), lab.slot.isLogging()]).toEqual([true, false]);
});

test('what fails without that is an error', () => {
  const lab = labOf(9);
  const user = lab.view();
  const revise = vi.spyOn(user.vm.parts.preparation, 'revise');
  // oxlint-disable-next-line require-yield -- what it stands for does.
  revise.mockImplementation(function* () {
    return 'noMemory';
  });
  expect(() => drive(setDirtyLog(user, 0, true))).toThrow(/^dirty log of slot 0: noMemory$/);
  revise.mockRestore();
});
