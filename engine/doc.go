// Package engine executes one attempt of a build: check, run, recheck, each by
// an [jobcontrol.Executor], under the job's time limits, and says how it ended.
//
// # Model
//
// [Engine.Attempt] follows DoJobber's truth table:
//
//	kind       check  run   recheck  result of the attempt
//	job        pass   –     –        successful, unchanged, with the check's value
//	job        fail   any   pass     successful, changed, with the recheck's value, else the run's
//	job        fail   any   fail     failed with the recheck's error
//	run-only   –      pass  –        successful, changed, with the run's value
//	run-only   –      fail  –        failed with the run's error
//	assertion  pass   –     –        successful, unchanged, with the check's value
//	assertion  fail   –     –        failed with the check's error
//	group      –      –     –        successful; changed if a dependency changed
//
// The build of a job with for_each executes no task (each.go). Its first attempt
// finds the items and ends waiting, with an expansion for the store; the next one,
// when the builds of the items have ended, makes their results its own.
//
// A task that asks to skip, suspend or try again, or that is cancelled, ends the
// attempt at once. Where the run ended in a way that forbids another try (panic,
// user), so does the attempt, with the recheck's message if that failed.
//
// # Invariants
//
//   - An attempt always starts with the check.
//   - The engine owns one attempt and writes nothing but what it reports: log
//     records and progress, in batches, at most ten a second, under the build's
//     claim. How the attempt ended is returned, and stored by the caller in one
//     transaction with the last batch.
//   - A fault of the store is returned as an error, never as a failure of the job.
//   - Secrets are read when the attempt starts and replaced in everything that is
//     shown: log, progress, result, failure. Local and Shared values are the
//     job's own and kept as they are.
package engine
