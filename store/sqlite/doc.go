// Package sqlite keeps the state in one SQLite file: [jobcontrol.Store] without
// a server.
//
// # Model
//
// One goroutine of a handle writes at a time (writer.go): whoever brings a write
// while nobody is writing. All writes that come while it commits become the next
// transaction, so that a commit, which waits for the disk, is paid once for
// many. A refused write is decided before it changed anything and does not
// disturb its neighbours; should one fail otherwise, the transaction is rolled
// back and each write is executed alone. Reads have connections of their own
// that cannot write, and see what was committed (reader.go). Both work on the
// driver's connections (conn.go), below database/sql, with statements that are
// prepared once.
//
// Any number of programs of one machine may use a file at once: every writing
// transaction begins with the write lock, and asks for it for up to 30 seconds.
// A file system of a network is refused.
//
// # Tables
//
// See migrations for the columns.
//
//	sequences    the last ids and claim numbers given out; one row
//	definitions  frozen definitions, each once by its content hash
//	origins      verb, user, file and flags of Runs, each combination once
//	heads        a row per job that has a build: its latest, finished, good ones
//	runs         Runs of several builds
//	expansions   builds that were expanded: the ids of those of their items, and their pins
//	run_keys     keys of NewRun, for a day
//	builds       builds; a lone build is its own Run
//	attempts     attempts that did not end their build, and clean-up steps
//	logs         a row per flush of a build's log, compressed
//	progress     the last report of each path
//	shared       values that the builds of a Run share
//	workers      processes with their leases
//	claims       claims of many builds, of which their rows do not tell
//	services     queues of projects, how they are described, and their rate's tokens
//	meta         the schema version
//
// # Invariants
//
//   - The builds of a Run have the ids that follow its own, in its order: a Run
//     is a range of ids, and a build's place follows from its id. Each expansion of
//     a build adds a further range.
//   - What ends a build touches few pages: its row, with the attempt that ended
//     it, the neighbouring rows of its dependants, and the row of its head.
//     Tables of a build's parts have ids that begin with the build's, so that
//     the parts lie together.
//   - A write under a claim sees in its transaction that the worker's row still
//     has the epoch, is not gone, and that the build's row has the claim. A
//     worker that is gone has lost all of its claims at once.
//   - States change only as [jobcontrol.Transitions] says: a statement that
//     changes one is either made from that table or executed after its check.
//   - A build of a detached Run (builds.detached) that is not final is in index
//     builds_claimed, if it is claimed in its row, in builds_free, if it may be and is
//     no suspect, else in builds_queue; builds.queue and builds.alone say which. The
//     former is set with each change of the state or the claim. Builds of the
//     foreground are in none of the queue's indexes, and executing them changes no
//     column of one.
//   - A detached build is claimed while builds.worker is set, or while a row of table
//     claims has it (claims.go), which is looked up before anything else is done to
//     it. Who gives it up, by Retry, a suspension or GiveBack, leaves the number in
//     builds.claim.
//   - runs.left counts the builds of a detached Run that are not final; the write
//     that makes it 0 ends the Run, or has it cleaned up. Of its clean-up steps the
//     first in index builds_cleanup is the one that is handed out (builds.cleaning).
//   - What many writes of a transaction change in one row (heads, Runs, the last
//     id) is added up and written once, at its end (postponed.go); lone detached
//     builds are inserted and finished by statements of many rows (bulk.go).
//   - sequences.hint grows in each transaction that may concern a worker: other
//     processes look at it when the write-ahead log has changed (hints.go).
//   - builds.cause is the build whose end released or blocked a build, so that a
//     repeated Finish gives the same answer.
//   - heads and the counts of final Runs change in the transaction that changes
//     what they tell; counts of unfinished Runs are counted when asked for.
//   - Leases end by the boot clock, which goes on in sleep and does not jump;
//     one of another boot has ended.
//
// # Faults
//
// A commit that failed leaves unknown what is on the disk: after an input or
// output error the handle writes nothing any more, and the program has to start
// again. A full disk and a busy database refuse a write and are over when they
// are over. A file that was deleted or replaced, and a damaged one, are errors
// of the code Unavailable that name the file. After an error of the first and the
// third kind (its method Final tells) a handle never answers again: the store has to be opened anew.
//
// SQLite takes from a write-ahead log what comes before the first frame that is not as
// it should be, and nothing where the log is missing. So Open looks first
// (wal.go) and refuses a file whose log was deleted, if its index tells of writes that
// are not in the file, or was damaged, if whole transactions follow the damage.
// What it cannot see: a log that was cut short or deleted with its index, which
// is the store as it was before; and other bytes within a stored value, since
// SQLite keeps no checksums of pages: that is for the file system, or backups.
//
// Fail points (package fault):
// sqlite.NAME.before and .after inside the transaction of each write, with NAME
// one of create, create-many, claim, give-back, promote, steer, claim-cleanup,
// put-services, reset-service, start, ran, retry, finish, cancel, cleaned, report, clean,
// finish-run, request-cancel, adopt, delete, prune, register, renew, unregister,
// rescue, shared, install and uninstall; sqlite.commit.before and .after around
// the commit.
package sqlite
