import { describe, expect, test } from 'vitest';
import { benchReport, duration, runReport } from '../../src/main/report.ts';
import type { BenchDocument } from '../../src/main/result.ts';
import { fixedResult } from './fixed-result.ts';

const passed = `permission-storm: 4 vCPUs, engine threads (wasm), kvm 5.10, seed 1
540,672 guest accesses and 131,072 faults in 1.23 s: 106,217 faults per second

fault          count         walks each      p50      p90      p99      max
translation    4,096                  1  1.20 µs  2.00 µs  10.5 µs  1.00 ms
permission   126,976  1 to 2, mean 1.25   850 ns   900 ns  1.00 µs   1.00 s
access             0                  -        -        -        -        -

lock      type      acquired  contended  wait min  wait max  wait total  wait avg  hold min  hold max  hold total  hold avg
mmu_lock  spinlock   131,104      1,200    640 ns   1.00 ms      2.00 s   1.50 µs    200 ns   1.00 µs      320 µs    312 ns

TLB invalidations: 0 by IPA, 126,976 local, 0 by range, 32 by VMID, 0 of all
stage-2 table: 11 pages, leaves 4,096 of 4K, digest 0123456789abcdef
retried because the host changed the page meanwhile: 12
timed: one fault in 16, one lock hold in 128, every contended wait
on 2 cores of Example CPU, load 0.5, Node 26.10.0, linux x64: a simulator's times, not hardware's

PASSED: the table equals the reference (4,096 leaves), and no write was lost
`;

describe('runReport', () => {
  test('says that the code was edited', () => {
    const edited = runReport({ ...fixedResult, edits: 2, editsHash: 'ab' });
    expect(edited.split('\n')[0]).toBe(`${passed.split('\n')[0]}, 2 source edits`);
  });

  test('shows every figure of a run that passed', () => {
    expect(runReport(fixedResult)).toBe(passed);
  });

  test('says how many events were checked', () => {
    const trace = { events: 1_234_567, perSecond: 1_003_713.8 };
    const lines = runReport({ ...fixedResult, port: 'traced', trace }).split('\n');
    expect(lines[0]).toContain('engine threads (traced)');
    expect(lines).toContain('checked as it ran: 1,234,567 events, 1,003,714 per second');
  });

  test('names each violation, what led to it, and the command that runs it again', () => {
    const command = 'faultline run a --engine explore --seed 1';
    const lost = { verdict: 'lost-write', message: 'vCPU 1 wrote 7 and found 5' };
    const stale = { verdict: 'stale-tlb', message: 'used', context: ['held', 'stored'] };
    const told = (schedule: string): string[] => {
      const violations = [lost, stale].map((finding) => ({ ...finding, schedule }));
      const text = runReport({ ...fixedResult, ok: false, violations });
      expect(text).not.toContain('PASSED');
      return text.split('\n\n').at(-1)?.split('\n') ?? [];
    };
    const lines = [
      'FAILED: 2 violations',
      '  lost-write: vCPU 1 wrote 7 and found 5',
      '  stale-tlb: used',
      '    held',
      '    stored',
    ];
    expect(told('')).toEqual([...lines, '']);
    expect(told(command)).toEqual([...lines, `again: ${command}`, '']);
  });

  test('says what was run: seeds, engine, event digest, how the table was compared', () => {
    const lines = runReport({
      ...fixedResult,
      engine: 'explore',
      port: 'explore',
      seeds: { first: 5, count: 3 },
      sampling: { latency: 1, hold: 1 },
      eventDigest: 'feed',
      check: { digest: 'after-write-protect', leaves: 1 },
      tables: { digest: '00', pages: 1, leaves: { '4K': 0, '2M': 0, '1G': 0 } },
      locks: [],
    }).split('\n');
    expect(lines).toContain('permission-storm: 4 vCPUs, engine explore, kvm 5.10, seeds 5 to 7');
    expect(lines).toContain('no locks were taken');
    expect(lines).toContain('stage-2 table: 1 page, no leaves, digest 00');
    expect(lines).toContain(
      'timed: every fault, every lock hold, every contended wait; event digest feed',
    );
    expect(lines).toContain(
      'PASSED: the table equals the reference once all of it was write-protected (1 leaf), and no write was lost',
    );
  });
});

test('benchReport shows ratios and ports', () => {
  const document: BenchDocument = {
    schema: 'faultline.bench/1',
    environment: fixedResult.environment,
    results: [
      {
        name: 'fault/translation',
        kvm: '5.10',
        vcpus: 1,
        unit: 'ns',
        p50: 1234,
        p99: 2000,
        min: 900,
        ratioTo: {},
        port: 'wasm',
      },
      {
        name: 'seam/map',
        kvm: '5.10',
        vcpus: 2,
        unit: 'steps/s',
        p50: 5_400_000,
        p99: 1.25,
        min: 12,
        ratioTo: { 'by hand': 1.057 },
      },
    ],
  };
  expect(benchReport(document))
    .toBe(`benchmark                 vCPUs                p50           p99         min  against
fault/translation (wasm)      1            1.23 µs       2.00 µs      900 ns
seam/map                      2  5,400,000 steps/s  1.25 steps/s  12 steps/s  1.06x by hand

on 2 cores of Example CPU, load 0.5, Node 26.10.0, linux x64: a simulator's times, not hardware's
`);
});

test.each([
  [null, '-'],
  [0, '0 ns'],
  [999, '999 ns'],
  [999.4, '999 ns'],
  [999.5, '1.00 µs'],
  [1000, '1.00 µs'],
  [12_340, '12.3 µs'],
  [999_499, '999 µs'],
  [999_500, '1.00 ms'],
  [2.5e9, '2.50 s'],
  [1.2345e13, '12345 s'],
])('duration(%s) is %s', (nanoseconds, text) => {
  expect(duration(nanoseconds)).toBe(text);
});
