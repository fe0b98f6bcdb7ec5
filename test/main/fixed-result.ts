import type { RunResult } from '../../src/main/result.ts';

/** A result with a value in every field that the report shows. */
export const fixedResult: RunResult = {
  schema: 'faultline.run/1',
  ok: true,
  workload: 'permission-storm',
  engine: 'threads',
  port: 'wasm',
  kvm: '5.10',
  vcpus: 4,
  seed: 1,
  seeds: { first: 1, count: 1 },
  wallSeconds: 1.234,
  guestAccesses: 540_672,
  faults: {
    total: 131_072,
    translation: 4096,
    permission: 126_976,
    access: 0,
    retried: 12,
    perSecond: 106_217.2,
  },
  walks: {
    translation: { faults: 4096, min: 1, max: 1, mean: 1 },
    permission: { faults: 126_976, min: 1, max: 2, mean: 1.25 },
    access: { faults: 0, min: null, max: null, mean: null },
  },
  latencyNs: {
    translation: { p50: 1200, p90: 2000, p99: 10_500, max: 999_950 },
    permission: { p50: 850, p90: 900, p99: 1000, max: 1e9 },
    access: { p50: null, p90: null, p99: null, max: null },
  },
  locks: [
    {
      name: 'mmu_lock',
      mode: 'spin',
      type: 'spinlock',
      acquisitions: 131_104,
      contended: 1200,
      waitNs: { p50: 1000, p90: 2000, p99: 30_000, min: 640, max: 1e6, total: 2e9, mean: 1500 },
      holdNs: { p50: 300, p90: 400, p99: 500, min: 200, max: 1000, total: 320_000, mean: 312 },
    },
  ],
  tlbi: { byIpa: 0, local: 126_976, range: 0, vmid: 32, all: 0 },
  tables: { digest: '0123456789abcdef', pages: 11, leaves: { '4K': 4096, '2M': 0, '1G': 0 } },
  check: { digest: 'exact', leaves: 4096 },
  sampling: { latency: 16, hold: 128 },
  eventDigest: null,
  environment: {
    node: '26.10.0',
    v8: '14.6',
    cpu: 'Example CPU',
    cores: 2,
    load: 0.52,
    platform: 'linux x64',
  },
  violations: [],
};
