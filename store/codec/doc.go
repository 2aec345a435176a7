// Package codec is how stores write what no query looks into: attempts, lists of
// builds, failures, pins, and log records in compressed chunks. All stores write
// the same bytes, so that what one has may be moved to another.
//
// # Format
//
// Attempts and chunks begin with a byte that names their format; a change of
// either needs a new one, and what was ever written stays readable. After it
// come numbers as varints and strings with their length before them; lists have
// their number of items before them.
//
//	attempt   number, flags (1: clean-up), start, end, worker, claim,
//	          phases (name, passed, error, nanoseconds), local values (key, JSON)
//	ids       without a first byte: each the difference to the one before it
//	chunk     records: flags, time as the difference to the record before, level,
//	          message, and of the other fields those that the flags name;
//	          compressed (flate) where that makes it smaller
//	failure   JSON; its frames are apart, since lists of builds do not show them
//	pins      JSON, a number by job
//
// Times are microseconds since 1970, UTC; 0 stands for the zero time.
//
// # Invariants
//
//   - What was encoded comes back equal, times with the precision of microseconds.
//   - Bytes that no encoder wrote are an error of type [Damaged], never a panic,
//     and never more memory than their own size and [MaxChunk] explain.
//   - The attempts, chunks and progress reports of a build have ids that begin
//     with the build's ([Place]), so that they lie together.
//   - A log keeps the first half of its quota for good, and of the rest the newest
//     chunks ([Log.After], [Log.Surplus]); what is missing is told by the sums in
//     the chunks around the gap ([Chunk.Gap]).
package codec
