// Package postgres keeps the state in a PostgreSQL database: [jobcontrol.Store]
// for many programs on many machines.
//
// # Model
//
// What is not final is in the small table builds; what is final is in history,
// which is only appended to and has tables by time. A build ends by one statement
// that deletes it here and inserts it there. Reading sees both as one.
//
// What comes in thousands is written in batches (writer.go): plain new builds,
// ends of attempts, reports. All that waits while a batch is written is the next
// one, so a commit is paid once for many and a lone write waits for nobody. Each
// caller gets its own answer; an operation that the batch cannot contain, or that
// makes it fail, is executed alone. Plain builds that differ only in their
// arguments are one statement, which is a transaction and one round trip (plain.go);
// thousands, or of many kinds, are copied (copy.go). Ids are drawn when they are
// needed, so that a greater one was made later. All other writes are transactions
// of their own (tx.go). Both work below pgx (conn.go): statements are prepared once for a
// connection, arguments and rows are binary, and a round trip carries several
// statements.
//
// A worker claims up to thousands of builds by one statement (claim.go), which
// passes over what others are just claiming. It changes no indexed column. Where
// looking through what was claimed before is slow, since an open transaction
// keeps it from being removed, claims go on at a cursor (claimer.go). In services
// with limits, claims are made one after the other (limits.go).
//
// # Invariants
//
//   - The only clock is the server's; leases end by clock_timestamp().
//   - A write under a claim is one transaction that locks the worker's row FOR KEY
//     SHARE, which a heartbeat does not wait for, and sees that it has the epoch and
//     is not gone; and that the build's row has the claim. A lease is taken away
//     under FOR UPDATE, so one of the two sees the other.
//   - Every transaction locks workers, then services, then builds, Runs and heads,
//     those of a kind in the order of their ids; what it changes of Runs and heads
//     is kept and written last. Only a new build, for which nobody can wait, may
//     come after its head.
//   - States change only as [jobcontrol.Transitions] says.
//   - builds.cause and history.cause are the build whose end released or blocked a
//     build; history.last is the attempt that ended it: so a repeated Finish gives
//     the same answer, also when a clean-up step has another claim since.
//   - A detached Run ends in the transaction that makes its last build final:
//     runs.remaining counts them, and is changed once in a transaction.
//   - A worker that did not hear what a claim gave it does not keep it: the next
//     claim of its lease takes back what has a greater number than it was given.
//   - Ids of definitions, origins, heads and services are remembered by programs
//     (known.go), so their rows are never deleted.
//
// # Faults
//
// After an error the server has committed, or not, or it is unknown. Where it has
// certainly not (a deadlock, a lost connection before the commit was sent), the
// transaction is executed again a few times; else the error is of the code
// Unavailable, and every write may be repeated. Fail points (package fault) are
// postgres.NAME.before and .after in each transaction, and
// postgres.commit.before and .after around its commit.
//
// Behind a pooler that gives each transaction another connection nothing is
// prepared, nobody listens, and all works, slower.
package postgres
