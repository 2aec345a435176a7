// Package fault holds fail points: named places, before and after every durable step, where a test can make a
// process die, freeze, wait, or fail as if the step had been refused.
//
// A fail point is one line in the code:
//
//	if err := fault.Point("store.finish.before-commit"); err != nil {
//		return err
//	}
//
// In an ordinary build [Point] is an empty function that the compiler inlines away, and the environment is not
// looked at. With the build tag "failpoints" (Linux only) two variables are read at the first hit of any point:
//
//	JOBCONTROL_FAILPOINTS        what to do, and where
//	JOBCONTROL_FAILPOINTS_TRACE  a file that gets the name of every hit point, one a line, before it acts
//
// A specification is a list of rules, separated by semicolons; spaces around them do not count:
//
//	store.finish.before-commit=kill@3;store.finish.after-commit=error;engine.exec=delay:200ms
//
//	rule   = name "=" action [ "@" K ]
//	name   = letters, digits and . _ -
//	action = "kill"              SIGKILL to this process; Point does not return
//	       | "stop"              SIGSTOP to this process; Point returns after SIGCONT
//	       | "delay:" DURATION   wait that long, as time.ParseDuration reads it
//	       | "error"             Point returns the error "fault: injected at NAME"
//
// @K limits a rule to the K-th hit of its point in this process, counted from 1; without it the rule holds at every
// hit. Several rules may name the same point: those that hold are carried out in their order, until one returns an
// error. A specification that cannot be read, and a trace file that cannot be written, end the process with a
// message on standard error and exit status 2, so that no test passes because its fault was never injected. A name
// that no point has is not noticed: the trace tells which exist.
//
// Child processes inherit both variables and count their own hits; the trace file may be shared, it is only appended
// to.
package fault
