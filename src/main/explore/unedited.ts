/**
 * What sets a scenario up and judges what it left, loaded as `#unedited`: where the modules of a thread are edited, these are those of the
 * disk, and all that they import.
 */
export { createSharedWorld } from '../shared-world.ts';
export { verify } from '../verify/verify.ts';
