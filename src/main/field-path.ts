/** Where a value stands in a document: keys and indexes from its root. */
export type Path = readonly (string | number)[];

/** `slots[0].size`, as a user would write it. */
export function fieldOf(path: Path): string {
  return path
    .map((step, i) => (typeof step === 'number' ? `[${step}]` : i === 0 ? step : `.${step}`))
    .join('');
}

/** What a schema found wrong, as the rest of a sentence. */
export function afterColon(message: string): string {
  const said = message.replace(/^Invalid (?:input|option): /u, '');
  return said.charAt(0).toLowerCase() + said.slice(1);
}
