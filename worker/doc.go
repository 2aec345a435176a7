// Package worker executes builds: those of a Run in the foreground, and, as a
// pool, those of detached Runs. It is the [jobcontrol.Client] of a program that
// has a store of its own.
//
// # The foreground
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
//   - No end of an attempt is told before it is durable.
//   - A fault of the store ends the Run: attempts are asked to stop, nothing new
//     is started, the error is returned.
//   - Where the lease could not be renewed in time, attempts are ended before it
//     can be given away.
//   - Clean-up steps are executed last in first out, after the last build, on
//     every way out but a second interrupt, a fault of the store, and where a
//     suspended or held build waits for a person.
//
// # The pool
//
// A [Pool] executes what the store gives it ([jobcontrol.Queue]). Its life is a
// row of terms, each under a lease of its own; a term has these duties, each a
// goroutine and a file:
//
//	claim.go      claims builds: as many as there are free slots, and what will be done in 100 ms beyond
//	suspects.go   divides the time between suspects and all others
//	slots.go      executes them: an attempt has a slot until its task has ended, and its end is stored beside the next
//	carry.go      what follows an attempt: the end, another try, the fallback service, or that it is given back
//	heartbeat.go  renews the lease, and ends everything before another can have it
//	mark.go       marks attempts that take long as running; gives back what waits for a slot for too long
//	stops.go      requests to cancel or suspend
//	steps.go      clean-up steps
//	names.go      services that come into being
//	promote.go    builds whose time has come
//	rescue.go     other workers that are gone
//
// Each duty looks when the store tells something, and now and then. Nothing that
// a duty does must be done by one pool only: the store decides who has what.
//
//   - A slot is not idle while a build of its services is ready: the next claim is
//     made when half of what was claimed ahead is used.
//   - The store may be away: attempts go on, their ends are written when it is
//     back, as long as the lease is trusted. That is until an eighth of its length
//     before it ends. Then attempts are killed, by the guardian if this process is
//     stopped, and a new term begins. What they did is written by nobody.
//   - Where a claim may have been made although it failed, the pool does not know
//     what it has: it ends the term when nothing is executed, and the store gives
//     what was unknown to others.
//   - A build that may have killed its worker (a suspect) is executed while nothing
//     else is. To be given one a pool lets its slots run empty; suspects are then
//     executed one after the other for up to two seconds, and all others have at
//     least as long as that took before it happens again.
//   - Nothing is begun while the lease is not trusted: a process that was stopped
//     and goes on executes nothing of what it had claimed ahead.
//   - What a dead process of this machine left behind is ended before its builds
//     are given to others; while something of it runs, its lease decides.
//   - Whoever shuts down gives back what he had not ended: no try is used.
//
// # The client
//
// What is detached is told from what the store shows: hub.go wakes all who wait
// for something, with one listener.
package worker
