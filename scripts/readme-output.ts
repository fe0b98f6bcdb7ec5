import { main } from '../src/main/program.ts';
import { commands } from '../src/main/commands.ts';

/** Lines that name the machine or the moment. */
const VARYING = /^on \d+ cores? of /;
const BLOCK = /(<!-- output of: faultline (.+) -->\n)```\n[^`]*```/g;

/** The text with every marked block replaced by what its command prints, without lines that differ from machine to machine. */
export async function withOutputs(readme: string): Promise<string> {
  const outputs: string[] = [];
  for (const [, , command] of readme.matchAll(BLOCK)) {
    outputs.push(await outputOf((command as string).split(' ')));
  }
  return readme.replaceAll(
    BLOCK,
    (_, marker: string) => `${marker}\`\`\`\n${outputs.shift()}\`\`\``,
  );
}

async function outputOf(argv: readonly string[]): Promise<string> {
  let text = '';
  const stdout = {
    write: (part: string): void => {
      text += part;
    },
  };
  const status = await main(argv, { stdout, stderr: process.stderr, isTTY: false }, commands);
  if (status !== 0) throw new Error(`faultline ${argv.join(' ')} ended with ${status}`);
  return text
    .split('\n')
    .filter((line) => !VARYING.test(line))
    .join('\n');
}
