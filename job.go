package jobcontrol

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Job is a definition: which tasks, with which arguments, after which other
// jobs, under which policy. A job is read-only once it is part of [Jobs].
//
// What a job can be follows from which tasks it has (DoJobber's node kinds):
//
//	check  run   kind
//	yes    yes   job        check; if it fails run, then check again: the recheck decides
//	–      yes   run-only   run; its error decides
//	yes    –     assertion  check; nothing can be done about a failure
//	–      –     group      only dependencies
//
// With for_each a job is of kind for-each: the builds of its items are of one of
// the first three.
type Job struct {
	ID    string   `json:"id"`
	Title string   `json:"title,omitempty"`
	Notes string   `json:"notes,omitempty"`
	Tags  []string `json:"tags,omitempty"`

	Check    *Task    `json:"check,omitempty"`
	Run      *Task    `json:"run,omitempty"`
	ForEach  *ForEach `json:"for_each,omitempty"`  // one build per item does all of this
	Cleanup  *Task    `json:"cleanup,omitempty"`   // after the Run, last in first out, if the run phase was executed
	OnDelete string   `json:"on_delete,omitempty"` // function called with the build when a build is deleted
	Repr     string   `json:"repr,omitempty"`      // function that describes a build in one line

	// Args and Kwargs are given to every task of the job that has none of its
	// own. Values are nil, bool, int64, float64, string, []any, map[string]any,
	// [Retval] and [Secret]; see [EncodeArguments].
	Args   []any          `json:"-"`
	Kwargs map[string]any `json:"-"`

	Env       map[string]any `json:"-"`                // string or [Secret]; for commands, beside the inherited environment
	Cwd       string         `json:"cwd,omitempty"`    // for commands; absolute once loaded from a file; default: the program's
	Stdin     string         `json:"stdin,omitempty"`  // for commands: "" (empty input) or "json" (args and kwargs as one object)
	ResultOut string         `json:"result,omitempty"` // for commands: "" (only what it tells), "stdout", "json" or "lines"

	// LeaveRunning lets processes outlive the command that started them: it
	// starts a daemon. Else whatever a command leaves behind is ended.
	LeaveRunning bool `json:"leave_running,omitempty"`

	Dependencies []string         `json:"dependencies,omitempty"`  // job ids, in order
	PinnedBuilds map[string]int64 `json:"pinned_builds,omitempty"` // dependency's job id → the build to use

	Tries       int            `json:"tries,omitempty"`        // attempts in all; 0: the verb's default (run 3, build 1)
	RetryDelay  *time.Duration `json:"retry_delay,omitempty"`  // nil: the verb's default (1 s)
	Backoff     string         `json:"backoff,omitempty"`      // "" (constant) or "exponential" (doubles, with jitter, at most 1 h)
	RetryFrom   string         `json:"retry_from,omitempty"`   // "" or "start": the delay counts from the attempt's start; "end"
	ExitCodes   map[int]string `json:"exit_codes,omitempty"`   // exit status of a command → failure kind, e.g. 75: retry
	Timeout     time.Duration  `json:"timeout,omitempty"`      // hard limit of an attempt; 0: none
	SoftTimeout time.Duration  `json:"soft_timeout,omitempty"` // limit at which it is asked to stop; 0: none
	Grace       time.Duration  `json:"grace,omitempty"`        // between asking and killing; 0: 10 s
	MaxLost     *int           `json:"max_lost,omitempty"`     // attempts lost with their worker before it fails; nil: 3
	OnLost      string         `json:"on_lost,omitempty"`      // "" or "retry"; "fail": a lost attempt fails the build

	Protected bool           `json:"protected,omitempty"` // wants a confirmation before it is built
	Service   string         `json:"service,omitempty"`
	Priority  int            `json:"priority,omitempty"`
	Unique    []string       `json:"unique,omitempty"` // paths such as args.0 and kwargs.url; ["*"]: job and all arguments
	Meta      map[string]any `json:"meta,omitempty"`

	Source Position `json:"-"` // where the file defines it; zero for jobs made in Go
}

// Position is a place in a file. Line and Column count from 1; zero: unknown.
type Position struct {
	File   string
	Line   int
	Column int
}

// String returns file:line:column, as far as known.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Kind is what a job can be.
type Kind string

// The kinds of job.
const (
	KindJob       Kind = "job"
	KindRunOnly   Kind = "run-only"
	KindAssertion Kind = "assertion"
	KindGroup     Kind = "group"
	KindForEach   Kind = "for-each"
)

// Kind tells which kind the job is.
func (j *Job) Kind() Kind {
	switch {
	case j.ForEach != nil:
		return KindForEach
	case j.Check != nil && j.Run != nil:
		return KindJob
	case j.Run != nil:
		return KindRunOnly
	case j.Check != nil:
		return KindAssertion
	}
	return KindGroup
}

// MaxLostOrDefault is MaxLost, or 3 where it is not set.
func (j *Job) MaxLostOrDefault() int {
	if j.MaxLost != nil {
		return *j.MaxLost
	}
	return 3
}

// GraceOrDefault is Grace, or 10 seconds where it is not set.
func (j *Job) GraceOrDefault() time.Duration {
	if j.Grace > 0 {
		return j.Grace
	}
	return 10 * time.Second
}

// jobJSON is the stored form of a job: Job with its arguments encoded, and with a
// meta whose whole numbers stay whole.
type jobJSON struct {
	*plainJob
	Meta   json.RawMessage `json:"meta,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
	Kwargs json.RawMessage `json:"kwargs,omitempty"`
	Env    json.RawMessage `json:"env,omitempty"`
}

type plainJob Job

// MarshalJSON returns the canonical definition, the form that is stored once by
// its content hash. Source is not part of it. Secrets are stored by name.
func (j *Job) MarshalJSON() ([]byte, error) {
	out := jobJSON{plainJob: (*plainJob)(j)}
	var err error
	if len(j.Args) > 0 {
		if out.Args, err = EncodeArguments(j.Args); err != nil {
			return nil, err
		}
	}
	if len(j.Kwargs) > 0 {
		if out.Kwargs, err = EncodeArguments(j.Kwargs); err != nil {
			return nil, err
		}
	}
	if len(j.Env) > 0 {
		if out.Env, err = EncodeArguments(j.Env); err != nil {
			return nil, err
		}
	}
	if len(j.Meta) > 0 {
		if out.Meta, err = json.Marshal(j.Meta); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (j *Job) UnmarshalJSON(data []byte) error {
	in := jobJSON{plainJob: (*plainJob)(j)}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	var err error
	if j.Args, err = decodeList(in.Args); err != nil {
		return err
	}
	if j.Kwargs, err = decodeMap(in.Kwargs); err != nil {
		return err
	}
	if j.Env, err = decodeMap(in.Env); err != nil {
		return err
	}
	j.Meta, err = decodeMeta(in.Meta)
	return err
}

func decodeMeta(data json.RawMessage) (map[string]any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	v, err := DecodeJSON(data)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		return nil, Errorf(Invalid, "meta must be a mapping")
	}
	return m, nil
}

// Definition returns the canonical JSON of the job and its content hash, the
// first 32 hexadecimal digits of its SHA-256.
func (j *Job) Definition() (body []byte, hash string, err error) {
	body, err = json.Marshal(j)
	if err != nil {
		return nil, "", Errorf(Invalid, "job %q: %v", j.ID, err)
	}
	return body, HashDefinition(body), nil
}

// HashDefinition is the content hash of a canonical definition.
func HashDefinition(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

// CheckJobID returns an error unless id is 1 to 128 printable characters with
// no slash, no control character and no space at the edges.
func CheckJobID(id string) error {
	switch {
	case id == "":
		return Errorf(Invalid, "a job id must not be empty")
	case !utf8.ValidString(id):
		return Errorf(Invalid, "job id %q is not valid UTF-8", id[:min(len(id), 128)])
	case utf8.RuneCountInString(id) > 128:
		return Errorf(Invalid, "job id %q is longer than 128 characters", id[:40]+"…")
	case strings.TrimSpace(id) != id:
		return Errorf(Invalid, "job id %q must not begin or end with a space", id)
	}
	for _, r := range id {
		if r == '/' || !unicode.IsPrint(r) {
			return Errorf(Invalid, "job id %q must not contain %s", id, strconv.QuoteRune(r))
		}
	}
	return nil
}

// CheckName returns an error unless name is 1 to 128 letters, digits and . _ - :
// and begins with a letter or digit: the names of tasks, services, projects and secrets.
func CheckName(what, name string) error {
	if name == "" || len(name) > 128 {
		return Errorf(Invalid, "a %s must have 1 to 128 characters", what)
	}
	for i, r := range name {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			i > 0 && strings.ContainsRune("._-:", r)
		if !ok {
			return Errorf(Invalid, "%s %q must be letters, digits and . _ - : and begin with a letter or digit", what, name)
		}
	}
	return nil
}
