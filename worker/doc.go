// Package worker executes the builds of a Run in the foreground, and is the
// [jobcontrol.Client] of a program that has a store of its own.
//
// # Model
//
// A Run that is executed in the foreground belongs to the program that was
// started: all of its builds are claimed by that program's worker when they are
// created. One goroutine, the loop in foreground.go, owns the order: of the
// builds that are due, the smallest (phase, place) goes first. Each attempt is a
// goroutine of its own; at most Parallel of them execute at a time.
//
// The store owns the Run. An attempt's end is written, together with what
// follows from it for other builds, in one transaction, and only the store's
// answer makes a dependant due. With Parallel 1 a slot is free again when the end
// is durable, so that the order is exactly DoJobber's; with more it is free when
// the task has ended, and the ends of several builds share a commit.
//
// # Invariants
//
//   - No end of an attempt is told before it is durable.
//   - A fault of the store ends the Run: attempts are asked to stop, nothing new
//     is started, the error is returned.
//   - Where the lease could not be renewed in time, attempts are ended before it
//     can be given away.
//   - Clean-up steps are executed last in first out, after the last build, on
//     every way out but a second interrupt, a fault of the store, and where a
//     suspended or held build waits for a person.
package worker
