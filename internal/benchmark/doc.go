// Package benchmark measures a store with no-op Go functions, through the same
// client and pools that programs use: what `jobcontrol bench` prints, and what
// the programs below bench compare with others.
//
// # Model
//
// A [Measurement] has a project of its own, so that nothing in the store is in its
// way and it is in nobody's. [Run] makes what it needs first (history, builds that
// wait for good, the queue that is to be drained), and then measures:
//
//	enqueue   Callers goroutines enqueue Jobs builds, Batch in a call; latencies are those of a call
//	drain     a pool with Workers slots executes Jobs builds that are queued
//	mixed     both at the same time; latencies are from before the enqueueing to the start
//	latency   one caller enqueues Rate builds a second, a pool executes them; latencies as above
//
// # Invariants
//
//   - Only the measured part counts in Seconds, CPU and latencies.
//   - Every build has an argument of Payload bytes and a result, which are stored.
//   - What is acknowledged is counted: a build counts when its end is in the store.
package benchmark
