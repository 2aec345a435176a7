// Package chaos breaks the queue on purpose and looks whether its promises hold.
//
// # Model
//
// A [Cluster] is one store, several worker processes and several client
// processes, all of them real: this program, executed again with a role (see
// [Main]). Clients submit lone builds, batches, chains, fans, Runs with retries
// and clean-up steps, Runs with a build for each item of a list, and hold, suspend,
// resume and cancel them, through the public interface. Jobs are Go functions and commands. All of them write into
// one file, the journal, a line at a time and only at its end, so that the order
// of its lines is an order in time:
//
//   - what a client called, with which arguments and key, and what it was
//     answered, or that it does not know (a call without an answer);
//   - what was executed: build, attempt, fence, process, start and end, and each
//     write that an execution tried and was told to be done;
//   - what a client saw a build to have become;
//   - which faults were injected.
//
// An execution also holds a lock on a file of its build, which the kernel frees
// when the last of its processes has ended: so executions that overlap are seen
// by themselves.
//
// A [Scenario] is a cluster under faults that are drawn from a seed. When it is
// over the faults end, what is left is executed, everything is stopped, and the
// checker compares journal and store. What it finds is a [Violation].
//
// # What must hold
//
//	lost         what was acknowledged is in the store and came to an end
//	twice        a key has one Run, a build one end; what was seen as final stays
//	stale        what a superseded execution wrote after its successor had begun
//	             was refused: result, log, progress, Shared values, counters
//	overlap      two executions of a build never run beside each other; those of
//	             functions in a stopped process do, and are only counted
//	order        no dependant starts before its dependency's end is durable
//	tries        no more counted tries than allowed, no more losses than max_lost
//	orphan       no process of a job outlives its attempt's worker
//	final        every Run is final, with the counts of its builds
//	unique       builds with one unique key are not unfinished at the same time
//	answer       what was acknowledged of a hold, a cancel, a suspension holds
//
// Of a build with for_each the same rules say more: each item of the list that was
// recorded has one build (lost, twice), executed when the list was durable (order),
// and the build's result, and what is given to its dependants, are the results that
// these builds ended with (lost, twice, order).
//
// # Forms
//
// The test executes a short form of everything that takes no long time. The long
// one is a plan of scenarios, some of them at a time, that follows from the seed:
//
//	go test -tags failpoints -v -timeout 60m -run TestChaos ./internal/chaos -chaos.minutes=45 -chaos.seed=1
//
// Each violation tells the flags that repeat its scenario alone, and the
// directory that is kept: journal, a log of each process, and the file
// violations with what is known of each build. -chaos.only also takes names
// (kill, stop, kill-at-POINT, stop-at-POINT, items, stale, wake, poison, hostile, server,
// cut, partition, split, power, eio, full, limit, with -sqlite or -postgres), and
// -chaos.from goes on where the time was over. Seed and number together decide
// everything but the races between processes. -chaos.soak=1h keeps workers busy
// and kills nothing: then no lease may end.
//
// # What is emulated
//
// The network: a proxy that knows PostgreSQL's protocol, so that it can cut a
// connection just before or just after a COMMIT; and network namespaces. The
// power cut: ext4 on a loop device on a disk that this process serves by FUSE and
// that forgets, sector by sector, any part of what was not flushed; a test holds
// that SQLite loses what it acknowledged with synchronous=NORMAL and nothing with
// FULL. The full disk: a small tmpfs. All but the proxy need root on Linux; what
// cannot be done is told and left out.
package chaos
