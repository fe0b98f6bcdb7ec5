#!/usr/bin/env node
/**
 * Launcher, in JavaScript that old Nodes understand: hands over to the Node that the package pins when this one is too old, then
 * runs the sources (in a checkout) or the build (installed).
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as nodeModule from 'node:module'; // whole: an old Node lacks enableCompileCache
import { fileURLToPath } from 'node:url';

const USAGE = 2;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major > 24 || (major === 24 && minor >= 12)) await run();
else handOver();

async function run() {
  const source = new URL('../src/main/cli.ts', import.meta.url);
  const isCheckout = existsSync(source) && !source.pathname.includes('/node_modules/');
  if (isCheckout && !process.env.NODE_V8_COVERAGE) cacheCompiledCode();
  const built = new URL('../dist/main/cli.js', import.meta.url);
  await import((isCheckout ? source : built).href);
}

/** Keeps stripped and compiled sources between runs; workers read the variable. Coverage has to see the code compiled anew. */
function cacheCompiledCode() {
  const cache = fileURLToPath(new URL('../node_modules/.cache/node', import.meta.url));
  process.env.NODE_COMPILE_CACHE ??= cache;
  nodeModule.enableCompileCache(process.env.NODE_COMPILE_CACHE);
}

function handOver() {
  const node = pinnedNode();
  const program = fileURLToPath(import.meta.url);
  const argv = [...process.execArgv, program, ...process.argv.slice(2)];
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  const forward = (signal) => {
    // A terminal sends Ctrl-C to the whole group, the child included; twice would mean "at once".
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  };
  // Before the child starts: its first output may be answered by a signal.
  for (const signal of signals) process.on(signal, forward);
  const child = spawn(node, argv, { stdio: 'inherit' });
  child.on('exit', (status, signal) => {
    for (const name of signals) process.off(name, forward);
    if (signal) process.kill(process.pid, signal);
    else process.exitCode = status;
  });
}

/** Path of a pinned Node that has been seen to start; ends the program with one line where there is none. */
function pinnedNode() {
  const name = `node-${process.platform}-${process.arch}`;
  let node;
  try {
    node = nodeModule.createRequire(import.meta.url).resolve(`${name}/bin/node`);
  } catch {
    fail(
      `needs Node 24.12 or newer and this is ${process.version}: run "npm ci", or install a newer Node`,
    );
  }
  const probe = spawnSync(node, ['--version'], { encoding: 'utf8' });
  if (probe.status === 0) return node;
  const reason = `${probe.error?.message ?? probe.stderr}`.trim().split('\n')[0];
  return fail(
    reason.includes('libatomic')
      ? 'its Node needs the library libatomic.so.1: install it, on Debian with "apt-get install libatomic1"'
      : `the Node of the package ${name} does not start: ${reason}`,
  );
}

function fail(what) {
  process.stderr.write(`faultline: ${what}\n`);
  process.exit(USAGE);
}
