// Package peer is what the programs of the comparison share: the job, the
// commands, the tally of what was executed, and the lines in which a program
// talks to the harness.
//
// # Model
//
// For each system there is one small program. It implements [System] and calls
// [Main], which carries out one command:
//
//	install  make the system's tables
//	fill     enqueue jobs as fast as many at once go
//	enqueue  enqueue jobs one at a time, from some callers
//	pace     enqueue jobs at a steady rate
//	visible  enqueue a job, wait until the store says that it ended, then the next
//	shape    enqueue chains or fans (only where the system has dependencies)
//	work     execute jobs until told to stop
//	count    read how many jobs are recorded as finished and how many are left
//
// What a program writes to standard output is a line of JSON for each [Event].
// Only `work` reads standard input: a word a line, `go`, `count`, `stop`.
//
// # Invariants
//
//   - A job is known by its number, which grows from 0 over all commands on one
//     store. The tally holds how often each was executed.
//   - Programs do not measure their own processor time: the harness does, from outside.
//   - All times are of the machine's clock, which programs and harness share.
package peer
