import wabtModule from 'wabt';

/** The TypeScript module that embeds an assembled WAT text; the currency test compares it with the file. */
export async function assembledModule(wat: string): Promise<string> {
  const wabt = await wabtModule();
  const module = wabt.parseWat('atomics.wat', wat, { threads: true });
  const { buffer } = module.toBinary({});
  module.destroy();
  const base64 = Buffer.from(buffer).toString('base64');
  const lines = base64.match(/.{1,100}/g) ?? [];
  return [
    '/** Assembled from atomics.wat by scripts/assemble.ts; do not edit. */',
    'export const ATOMICS_BASE64: string = [',
    ...lines.map((line) => `  '${line}',`),
    "].join('');",
    '',
  ].join('\n');
}
