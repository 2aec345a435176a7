// Package executor executes tasks: how the code of a task becomes a Go call,
// a process or a request, what it is told, what is taken from it, and how it is ended.
//
// # Functions
//
// A function of the registry is called in a goroutine of its own, with a
// context in which [jobcontrol.Current] finds the execution. An error that it
// returns becomes a failure with its causes; a panic one of kind panic, with the
// stack from the function down to the panic and the source lines around each
// call where the files can be read; runtime.Goexit one of kind error. A function
// that does not return within the job's grace after its context was cancelled
// is given up: its goroutine stays behind, is counted by [Executor.Abandoned],
// and the attempt ends.
//
// # Commands
//
// A script is executed by /bin/sh -eu -c SCRIPT sh ARGS, a list by execve with ARGS
// appended. Nothing that is passed is ever part of a shell's text:
//
//	args        words: "$@"; strings as they are, everything else compact JSON
//	kwargs      variables JOBCONTROL_KWARG_<NAME>: the name in upper case, what is no letter, digit or _ as _
//	both        with stdin: json one line {"args": […], "kwargs": {…}} on stdin; else stdin is empty
//	env         beside the inherited environment; JOBCONTROL_* wins over it
//	JOBCONTROL_BUILD, _RUN, _JOB, _ATTEMPT, _PHASE, _FENCE   where it is; the fence only grows
//	JOBCONTROL_TELL    the descriptor for messages: 3
//	JOBCONTROL_TOKEN   marks the processes of this execution; leave it alone
//
// A program is searched for in the absolute directories of the PATH that it will
// have. NUL bytes and two keyword arguments with the same variable are failures
// of kind user.
//
// The outcome, the first that holds: the cause of the cancelled context, if that
// asked the command to end before it had; what the command told (skip, retry,
// suspend, fail: the last one), whatever its exit status; its exit status, by the
// job's exit_codes, else any but 0 is kind error; success. The message of a failed
// command is the last line that is not blank on stderr, at most 1 KiB of it, else its
// exit status or signal. The value of a command is the result that it told last, else
// its stdout as the job's result mode says: in phase run, and in phase check of an
// assertion. More than [jobcontrol.MaxResult] bytes are a failure of kind user.
//
// # Requests
//
// A task with an HTTP part is one request, on a connection of its own, with TLS
// verified and the proxy that the environment names. Beside the given headers it has
//
//	User-Agent           jobcontrol and its version
//	Jobcontrol-Build, -Attempt, -Fence    where it is; not in a plan, where nothing is built
//	Idempotency-Key      build-N of a POST, PUT or PATCH in phase run, build-N-cleanup in phase cleanup
//
// An expected status is success; its body is the value as the task says. Of others, 5xx
// and 429 with Retry-After are kind retry after that time, at most an hour; 4xx but 408,
// 425 and 429 are kind user, except in the check of a job that has a run; the rest, and
// whatever keeps an answer from coming, is kind error. A body that is the value and larger
// than [jobcontrol.MaxResult] is a failure of kind user; more than 64 KiB of headers is
// kind error. A cancelled context ends the request at once: there is nobody to ask.
//
// Each request leaves one record of level INFO and logger "http", without user,
// password and values of the query of its URL; an unexpected answer one of level
// WARNING with the first KiB of its body. Redirects go to another host without the
// given headers, never there with a body, and never from https to http. Where a URL
// leads is not restricted: the file and its author are trusted.
//
// # Output
//
// Each line of stdout is a log record of level INFO and logger "stdout", each of
// stderr one of level WARNING and logger "stderr", in the order in which they
// arrive. A record holds every byte of its line but the newline; the \r of \r\n
// stays. A line longer than [jobcontrol.MaxLogRecord] becomes several records, all but
// the last Continued. When the recorder waits, so does the command.
//
// # Messages
//
// Descriptor 3 is a stream socket; /dev/fd/3 cannot be opened, >&3 can be used. A
// command writes one JSON object a line:
//
//	{"progress": {"path": "a::b", "current": 1, "total": 2, "status": "…"}}   path also ["a", "b"]; all may be missing
//	{"log": {"level": "info", "logger": "…", "message": "…", "attrs": {…}}}   level also a number
//	{"result": ANY}
//	{"skip": "why"}  {"suspend": "why"}  {"fail": "why"}     fail: kind user
//	{"retry": {"after": SECONDS, "message": "why"}}          both may be missing
//	{"local": {"set": KEY, "value": ANY}}                    for this attempt
//	{"shared": {"set": KEY, "value": ANY, "version": N}}     for this Run; with a version only if it still is this one
//	{"call": true}                                           a message with a reply, see below
//
// They are carried out one after the other. Lines of up to 4 KiB written by one
// write do not mix with those of other processes; longer ones do if several
// processes write at the same time. A message of more than a result's largest size
// and 4 KiB is refused. What is malformed or refused is a WARNING in the build's
// log, of logger "jobcontrol", with the beginning of the line; after twenty only
// their number.
//
// A message with a reply goes over a socket of its own: the process makes a
// pair of stream sockets, sends one of them along with the line {"call": true}
// (SCM_RIGHTS), writes the message as one line to the other one, and reads one line:
//
//	{"value": ANY, "found": true, "version": N, "keys": […]}    what there is to say
//	{"error": "why", "code": "conflict"}                        it was refused
//
// So it can also ask: {"local": {"get": KEY}}, {"local": {"keys": true}}, and the
// same of shared. [Teller] does this, for `jobcontrol tell` and for Go programs.
//
// # Ending
//
// A command is the leader of a process group, and is killed by the kernel when the
// thread that started it dies; its goroutine keeps that thread. When the context is
// cancelled, the group gets SIGTERM, and SIGKILL when the job's grace is over, or
// at the context's deadline if that comes first. If the cause of the
// context, or what it wraps, has a method Hard() bool that returns true, it is
// SIGKILL at once. The error is then that cause, if there is a *[jobcontrol.Failure]
// in it, else a failure of kind timeout (context.DeadlineExceeded) or cancel.
//
// When the main process has ended, so must all that it started. What is left, in
// its group or with its token in the environment, and what descends from that, has a
// tenth of a second to end by itself (after a cancel, what is left of the grace),
// is then killed, and reported in the build's log. A stream that is still held open a second later
// is given up and reported. As a subreaper ([Config.Subreaper]) the executor also
// inherits what hides from that: a process in a session of its own without the
// token is ended with the command whose pipes it holds, or that is the only one old enough to
// have made it, or at the latest by [Executor.Close]. Not followed is what a
// command has other services start: at, systemd-run, docker.
//
// Of a job with leave_running, what is left when the command has ended by itself
// goes on running, whatever happens to this process later; at a cancel it is ended.
//
// # The guardian
//
// A [Guardian] is this program once more, as a process in a session of its own. It
// holds the reading end of a pipe. When the pipe closes, this process has died, and it kills
// every process with one of its tokens and the groups of its commands, and what
// descends from them, until there are none, for five seconds. It does the same to
// a command whose hard limit has passed by two seconds (the job's timeout, its
// soft timeout and grace, or the context's deadline and grace), and to all commands when
// the time set by [Guardian.Trust] has come: the cases in which this process is stopped.
// It is told of a command when that is fifty milliseconds old; tokens find younger ones.
//
// # Limits
//
// Each command that is being executed takes one thread and about eight
// descriptors. Memory per command is bounded: a record for each stream, one
// message, and the captured result. Commands need Linux.
package executor
