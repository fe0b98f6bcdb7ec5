;; The atomic operations of the `threads` port, on the shared memory of the run.
;; Addresses are byte offsets. A 64-bit load gives the low half and keeps the high half for `high`:
;; one atomic load, no tearing. Assembled into atomics-wasm.ts by scripts/assemble.ts; a test proves it current.
(module
  (import "engine" "memory" (memory 1 65536 shared))
  (global $high (mut i32) (i32.const 0))
  (func (export "load32") (param $at i32) (result i32)
    (i32.atomic.load (local.get $at)))
  (func (export "store32") (param $at i32) (param $value i32)
    (i32.atomic.store (local.get $at) (local.get $value)))
  (func (export "add32") (param $at i32) (param $delta i32) (result i32)
    (i32.atomic.rmw.add (local.get $at) (local.get $delta)))
  (func (export "or32") (param $at i32) (param $bits i32) (result i32)
    (i32.atomic.rmw.or (local.get $at) (local.get $bits)))
  (func (export "cas32") (param $at i32) (param $expected i32) (param $value i32) (result i32)
    (i32.eq
      (i32.atomic.rmw.cmpxchg (local.get $at) (local.get $expected) (local.get $value))
      (local.get $expected)))
  ;; Stores a waitable word, then gives its count of sleepers.
  (func (export "signal32") (param $at i32) (param $value i32) (result i32)
    (i32.atomic.store (local.get $at) (local.get $value))
    (i32.atomic.load offset=4 (local.get $at)))
  (func (export "load64") (param $at i32) (result i32)
    (local $value i64)
    (local.set $value (i64.atomic.load (local.get $at)))
    (global.set $high (i32.wrap_i64 (i64.shr_u (local.get $value) (i64.const 32))))
    (i32.wrap_i64 (local.get $value)))
  (func (export "high") (result i32) (global.get $high))
  ;; Not atomic: a frame is filled by the agent that owns it.
  (func (export "fill") (param $at i32) (param $bytes i32) (param $value i32)
    (memory.fill (local.get $at) (local.get $value) (local.get $bytes)))
  (func $pair (param $lo i32) (param $hi i32) (result i64)
    (i64.or
      (i64.extend_i32_u (local.get $lo))
      (i64.shl (i64.extend_i32_u (local.get $hi)) (i64.const 32))))
  (func (export "store64") (param $at i32) (param $lo i32) (param $hi i32)
    (i64.atomic.store (local.get $at) (call $pair (local.get $lo) (local.get $hi))))
  (func (export "cas64")
    (param $at i32) (param $expectedLo i32) (param $expectedHi i32) (param $lo i32) (param $hi i32) (result i32)
    (local $expected i64)
    (local.set $expected (call $pair (local.get $expectedLo) (local.get $expectedHi)))
    (i64.eq
      (i64.atomic.rmw.cmpxchg
        (local.get $at) (local.get $expected) (call $pair (local.get $lo) (local.get $hi)))
      (local.get $expected))))
