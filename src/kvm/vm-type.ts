/** What a VM is asked for at its creation (specification section 1.6): the size of its IPA space. */

/** The low byte of a VM type; no other bit is known. */
const IPA_BITS_MASK = 0xff;
/** Of type 0. */
const IPA_BITS_DEFAULT = 40;
const IPA_BITS_MIN = 32;

/** Bits of IPA that a VM type asks for; `invalid` for unknown bits of the type, and for a size below 32 or above `limit`. */
export function ipaBitsOfType(vmType: number, limit: number): number | 'invalid' {
  if (vmType < 0 || vmType > IPA_BITS_MASK) return 'invalid';
  const bits = vmType === 0 ? IPA_BITS_DEFAULT : vmType;
  return bits < IPA_BITS_MIN || bits > limit ? 'invalid' : bits;
}
