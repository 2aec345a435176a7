// Package jobcontrol runs jobs: work that depends on other work, may fail, and
// whose story must be kept.
//
// # Words
//
//   - A [Task] is named code that can be executed: a registered Go function or a command.
//   - A [Job] is a definition: its tasks (check, run, cleanup), arguments, dependencies and policy.
//   - A [Build] is one durable execution of a job, with a frozen copy of its definition.
//   - An [Attempt] is one check, run, recheck cycle of a build.
//   - A [Run] is a set of builds made together for one or more target jobs, ordered by their dependencies.
//   - A [Plan] is what a Run would do, without doing it.
//   - A result is what a build returned, as JSON. A [Failure] is why an attempt failed.
//   - A [Worker] executes builds; its [Lease] is its exclusive, expiring claim, with a fencing number.
//   - A [Store] is the database with all state.
//
// # States
//
// A build is waiting while a dependency in the same Run is not finished,
// scheduled while its time has not come, and queued otherwise. It then is
// running and ends successful, skipped or failed; what never ran ends cancelled
// or blocked. [Transitions] is the one table; every write of the store is one of
// its rows, guarded by the state and the claim it expects.
//
// # Invariants
//
//   - A build gets exactly one final state, written by the holder of its claim.
//     Anyone else gets [ErrLeaseLost] and changes nothing.
//   - Dependants are released, or blocked, in the transaction that finishes
//     their last dependency.
//   - Nothing is told to a user, and no dependant starts, before it is durable.
//   - A new attempt always starts with its check.
//   - The only clock of durable decisions is [Clock], the store's.
//
// The package imports the standard library and package graph, nothing else.
package jobcontrol
