// Package cli is the command line: one file per command, each with its options,
// its flags and a function that does it. [Main] gives any Go program the whole of
// it, with the functions of that program's registry.
//
// # Model
//
// A [Program] is one invocation as a value: arguments, environment, streams,
// signals. Its commands ask a [jobcontrol.Client]; only open.go and place.go know
// which store, which file and which executor stand behind it. What takes a while
// and belongs to nobody who waits, a worker, stops at the first signal by itself.
//
// # What goes where
//
//   - What was asked for goes to standard output: tables and sentences for
//     people, one JSON document with --format json (of a log, one per line).
//   - Everything else goes to standard error: errors as "jobcontrol: message"
//     and "hint: …", warnings, and the lines of -v in DoJobber's form.
//   - Nothing is asked back: what wants a confirmation wants the flag --yes.
//   - Nothing that comes from a job reaches a terminal as a control sequence.
//   - Colours only on a terminal, and not with NO_COLOR.
//
// # Exit status
//
//	0 done   1 some build failed   2 usage or configuration   3 not found
//	4 conflict, or a confirmation is missing   5 store unavailable   130 interrupted
package cli
