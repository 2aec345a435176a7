package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jobcontrol/jobcontrol"
)

// A program is what a command becomes: what execve is called with, and what it
// reads.
type program struct {
	path  string
	argv  []string
	env   []string
	dir   string
	stdin []byte // nil: empty input
}

// Names of the variables that tell a command where it is; docs in doc.go.
const (
	envBuild   = "JOBCONTROL_BUILD"
	envRun     = "JOBCONTROL_RUN"
	envJob     = "JOBCONTROL_JOB"
	envAttempt = "JOBCONTROL_ATTEMPT"
	envPhase   = "JOBCONTROL_PHASE"
	envFence   = "JOBCONTROL_FENCE"
	envTell    = "JOBCONTROL_TELL"
	envToken   = "JOBCONTROL_TOKEN"
	envKwarg   = "JOBCONTROL_KWARG_"
)

const (
	shell          = "/bin/sh"
	tellDescriptor = 3 // of a command, for its messages
)

// newProgram makes the program of a call. The errors are failures of kind user:
// another try would not help.
func newProgram(c *jobcontrol.Call, base []string, token string) (*program, error) {
	args, err := words(c.Args)
	if err != nil {
		return nil, err
	}
	env, err := environment(c, base, token)
	if err != nil {
		return nil, err
	}
	p := &program{env: env, dir: c.Job.Cwd}
	if c.Task.Shell != "" {
		script := c.Task.Shell
		if script[0] == '-' || script[0] == '+' {
			script = " " + script // else the shell takes it for an option
		}
		p.path, p.argv = shell, append([]string{"sh", "-eu", "-c", script, "sh"}, args...)
	} else {
		if len(c.Task.Command) == 0 || c.Task.Command[0] == "" {
			return nil, userFailure("the command is empty")
		}
		p.argv = append(slices.Clone(c.Task.Command), args...)
	}
	for i, a := range p.argv {
		if strings.IndexByte(a, 0) >= 0 {
			return nil, userFailure(fmt.Sprintf("argument %d of the command contains a NUL byte", i))
		}
	}
	if strings.IndexByte(p.dir, 0) >= 0 {
		return nil, userFailure("cwd contains a NUL byte")
	}
	if p.path == "" {
		if p.path, err = lookPath(p.argv[0], env); err != nil {
			return nil, err
		}
	}
	if c.Job.Stdin == "json" {
		if p.stdin, err = stdinJSON(c); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// words makes positional arguments words of a command line: strings as they
// are, everything else compact JSON.
func words(args []any) ([]string, error) {
	out := make([]string, len(args))
	for i, a := range args {
		w, err := word(a)
		if err != nil {
			return nil, userFailure(fmt.Sprintf("argument %d: %v", i, err))
		}
		out[i] = w
	}
	return out, nil
}

func word(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	data, err := compactJSON(v)
	return string(data), err
}

func compactJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func stdinJSON(c *jobcontrol.Call) ([]byte, error) {
	in := struct {
		Args   []any          `json:"args"`
		Kwargs map[string]any `json:"kwargs"`
	}{c.Args, c.Kwargs}
	if in.Args == nil {
		in.Args = []any{}
	}
	if in.Kwargs == nil {
		in.Kwargs = map[string]any{}
	}
	data, err := compactJSON(in)
	if err != nil {
		return nil, userFailure("stdin: " + err.Error())
	}
	return append(data, '\n'), nil
}

// environment is what the command inherits: base, the job's own variables, and
// ours, each overriding those before it.
func environment(c *jobcontrol.Call, base []string, token string) ([]string, error) {
	set := make(map[string]string, len(c.Env)+len(c.Kwargs)+8)
	for k, v := range c.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") {
			return nil, userFailure(fmt.Sprintf("environment variable %q: a name must not be empty nor contain = or NUL", k))
		}
		set[k] = v
	}
	if err := kwargVariables(set, c.Kwargs); err != nil {
		return nil, err
	}
	set[envBuild] = strconv.FormatInt(c.Build, 10)
	set[envRun] = strconv.FormatInt(c.Run, 10)
	set[envJob] = c.Job.ID
	set[envAttempt] = strconv.Itoa(c.Attempt)
	set[envPhase] = string(c.Phase)
	set[envFence] = strconv.FormatInt(c.Fence, 10)
	set[envTell] = strconv.Itoa(tellDescriptor)
	set[envToken] = token

	env := make([]string, 0, len(base)+len(set))
	for _, kv := range base {
		name, value, _ := strings.Cut(kv, "=")
		if name == envToken && len(value) < 1024 {
			set[envToken] += value // we are a command ourselves: keep what finds our own children
		}
		if _, ours := set[name]; !ours && !strings.HasPrefix(name, envKwarg) {
			env = append(env, kv)
		}
	}
	for k, v := range set {
		if strings.IndexByte(v, 0) >= 0 {
			return nil, userFailure(fmt.Sprintf("environment variable %s contains a NUL byte", k))
		}
		env = append(env, k+"="+v)
	}
	return env, nil
}

// kwargVariables adds a variable for each keyword argument.
func kwargVariables(set map[string]string, kwargs map[string]any) error {
	origin := make(map[string]string, len(kwargs))
	for k, v := range kwargs {
		name := envKwarg + strings.Map(variableRune, k)
		if other, taken := origin[name]; taken {
			a, b := min(k, other), max(k, other)
			return userFailure(fmt.Sprintf("keyword arguments %q and %q would both be %s", a, b, name))
		}
		origin[name] = k
		w, err := word(v)
		if err != nil {
			return userFailure(fmt.Sprintf("keyword argument %q: %v", k, err))
		}
		set[name] = w
	}
	return nil
}

func variableRune(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return r - 'a' + 'A'
	case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return r
	}
	return '_'
}

// lookPath finds a program by the PATH that the command itself will have. Only
// absolute directories count; a name with a slash is taken as it is.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := ""
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	var unusable string
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		full := filepath.Join(dir, name)
		info, err := os.Stat(full)
		switch {
		case err != nil || info.IsDir():
		case info.Mode()&0o111 == 0:
			unusable = full
		default:
			return full, nil
		}
	}
	if unusable != "" {
		return "", &jobcontrol.Failure{Kind: jobcontrol.FailError, Message: unusable + ": not executable"}
	}
	return "", &jobcontrol.Failure{Kind: jobcontrol.FailError, Message: name + ": command not found"}
}

// startFailure explains why a program could not be started.
func startFailure(p *program, err error) *jobcontrol.Failure {
	f := &jobcontrol.Failure{Kind: jobcontrol.FailError}
	name := p.argv[0]
	if info, statErr := os.Stat(p.dir); p.dir != "" && statErr != nil {
		f.Message = fmt.Sprintf("cwd %s: %s", p.dir, plain(statErr))
		return f
	} else if p.dir != "" && !info.IsDir() {
		f.Message = fmt.Sprintf("cwd %s: not a directory", p.dir)
		return f
	}
	full := p.path
	if !filepath.IsAbs(full) {
		full = filepath.Join(p.dir, full)
	}
	info, statErr := os.Stat(full)
	switch {
	case errors.Is(err, syscall.E2BIG):
		f.Kind = jobcontrol.FailUser
		f.Message = name + ": the arguments and the environment are too long for a command; use stdin: json"
	case os.IsNotExist(err) && statErr == nil:
		f.Message = name + ": cannot be executed: its interpreter, named in its first line, does not exist"
	case os.IsNotExist(err):
		f.Message = name + ": command not found"
	case os.IsPermission(err) && statErr == nil && info.IsDir():
		f.Message = name + ": is a directory"
	case os.IsPermission(err):
		f.Message = name + ": not executable"
	default:
		f.Message = fmt.Sprintf("%s: cannot be started: %s", name, plain(err))
	}
	return f
}

// plain is the message of a file error without the operation and the name.
func plain(err error) string {
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
