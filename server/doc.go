// Package server is what `jobcontrol serve` runs: one program that does for a
// store what does not belong to a single command.
//
// # Model
//
// A [Server] has parts, each a Run(ctx) error that blocks and owns its goroutines.
// Today it has two: a worker pool for all services of a project, which also
// promotes scheduled builds and rescues what dead workers left behind, and, where
// a policy says so, what removes old builds and log records once an hour.
//
// # Invariants
//
//   - One server works on one file: [New] takes a lock beside it, which ends with
//     the process, and refuses where another process has it, naming that. Workers
//     and commands need no lock.
//   - Run returns after everything it started has ended.
package server
