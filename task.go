package jobcontrol

import "strings"

// Task is named code that can be executed. Exactly one of Function, Shell,
// Command and HTTP is set.
type Task struct {
	Function string   `json:"function,omitempty"` // a name in the [Registry], such as mycrawler:crawl
	Shell    string   `json:"shell,omitempty"`    // executed by /bin/sh -eu -c
	Command  []string `json:"command,omitempty"`  // executed as it is, without a shell
	HTTP     *HTTP    `json:"http,omitempty"`     // a request to a server

	// Arguments of this task alone, in the form of [EncodeArguments]; nil: the job's.
	Args   EncodedArguments `json:"args,omitempty"`
	Kwargs EncodedArguments `json:"kwargs,omitempty"`
}

// String returns the task as a person would write it, on one line.
func (t *Task) String() string {
	switch {
	case t == nil:
		return ""
	case t.Function != "":
		return t.Function
	case t.Shell != "":
		return strings.Join(strings.Fields(t.Shell), " ")
	case t.HTTP != nil:
		return t.HTTP.String()
	}
	return strings.Join(t.Command, " ")
}

// IsCommand tells whether the task is executed as a process.
func (t *Task) IsCommand() bool { return t != nil && t.Function == "" && t.HTTP == nil }
