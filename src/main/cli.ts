import { commands } from './commands.ts';
import { exitStatus, main } from './program.ts';

/** A reader that has gone away (`| head`) is no reason to fail: the run's verdict stands. */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

const stop = new AbortController();
process.stdout.on('error', ignoreClosedPipe);
process.stderr.on('error', ignoreClosedPipe);
process.on('SIGINT', () => {
  // A second Ctrl-C does not wait for a clean end.
  if (stop.signal.aborted) process.exit(exitStatus.interrupted);
  stop.abort();
});

const status = await main(
  process.argv.slice(2),
  {
    stdout: process.stdout,
    stderr: process.stderr,
    isTTY: process.stderr.isTTY,
    signal: stop.signal,
  },
  commands,
);
// Workers may still be in a loop of their own: do not wait for them, only for the text.
process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
