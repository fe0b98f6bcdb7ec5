/** The machine a result was taken on. */
import { cpus, loadavg } from 'node:os';
import type { Environment } from './result.ts';

export function environment(): Environment {
  const all = cpus();
  return {
    node: process.version,
    v8: process.versions.v8,
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
    platform: `${process.platform}-${process.arch}`,
  };
}
