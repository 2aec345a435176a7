package jobcontrol

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol/graph"
)

// Jobs is an ordered set of valid jobs with their graph. It never changes.
type Jobs struct {
	jobs []*Job
	g    *graph.Graph
}

// Problem is one fault in a definition. Index is the job's place in the list
// and Field the part of it that is to blame, such as dependencies[2], tries or
// kwargs.url[0].
type Problem struct {
	Index   int
	Job     string
	Field   string
	Message string
	Hint    string
}

// Problems is every fault of a list of jobs. It is an error of code Invalid.
type Problems []Problem

// Error tells all problems, one per line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, q := range p {
		lines[i] = fmt.Sprintf("job %q: %s: %s", q.Job, q.Field, q.Message)
		if q.Hint != "" {
			lines[i] += " (" + q.Hint + ")"
		}
	}
	return strings.Join(lines, "\n")
}

// Is makes errors.Is(err, ErrInvalid) hold.
func (p Problems) Is(target error) bool { return target == ErrInvalid }

// NewJobs checks the jobs and their graph and returns them as a set. The error
// is of type [Problems] and names every fault.
func NewJobs(jobs []*Job) (*Jobs, error) {
	var problems Problems
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
		problems = append(problems, checkJob(i, j)...)
	}
	g, err := graph.New(ids, func(i int) []string { return jobs[i].Dependencies })
	var faults graph.Problems
	if errors.As(err, &faults) {
		for n, f := range faults {
			names := ids
			if n >= maxSuggestions {
				names = nil
			}
			problems = append(problems, graphProblem(f, names))
		}
	} else if err != nil {
		return nil, Errorf(Internal, "graph: %v", err)
	}
	problems = append(problems, itemIDs(jobs)...)
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b Problem) int { return a.Index - b.Index })
		return nil, problems
	}
	return &Jobs{jobs: jobs, g: g}, nil
}

// maxSuggestions is for how many unknown dependencies a near name is looked up.
const maxSuggestions = 50

// graphProblem says what is wrong with the graph; ids are names to suggest.
func graphProblem(f graph.Problem, ids []string) Problem {
	p := Problem{Index: f.Index, Job: f.Node, Field: "id"}
	if f.DepIndex >= 0 {
		p.Field = fmt.Sprintf("dependencies[%d]", f.DepIndex)
	}
	switch f.Kind {
	case graph.DuplicateID:
		p.Message = fmt.Sprintf("job %q is defined twice", f.Node)
		p.Hint = "job ids must be unique"
	case graph.UnknownDependency:
		p.Message = fmt.Sprintf("there is no job %q", f.Dep)
		if near := Nearest(f.Dep, ids); near != "" {
			p.Hint = fmt.Sprintf("did you mean %q?", near)
		}
	case graph.SelfDependency:
		p.Message = "a job cannot depend on itself"
	case graph.DuplicateDependency:
		p.Message = fmt.Sprintf("dependency %q is listed twice", f.Dep)
	case graph.Cycle:
		p.Message = "the dependencies form a cycle: " + strings.Join(f.Path, " -> ")
		p.Hint = "remove one of these dependencies"
	default:
		p.Message = f.Error()
	}
	return p
}

// All returns the jobs in order. The slice must not be modified.
func (s *Jobs) All() []*Job { return s.jobs }

// Len is the number of jobs.
func (s *Jobs) Len() int { return len(s.jobs) }

// Graph is the graph of the jobs; its nodes have the order of All.
func (s *Jobs) Graph() *graph.Graph { return s.g }

// Job returns a job by its id, or NotFound with a near name as a hint.
func (s *Jobs) Job(id string) (*Job, error) {
	if i, ok := s.g.Index(id); ok {
		return s.jobs[i], nil
	}
	e := Errorf(NotFound, "no such job: %q", id)
	for _, j := range s.jobs {
		if _, item := ItemKey(j.ID, id); item && j.ForEach != nil {
			e.Hint = fmt.Sprintf("it is an item of job %q, which `why` explains; `jobcontrol builds %s` lists its builds", j.ID, "'"+strings.ReplaceAll(id, "'", `'\''`)+"'")
			return nil, e
		}
	}
	ids := make([]string, len(s.jobs))
	for i, j := range s.jobs {
		ids[i] = j.ID
	}
	if near := Nearest(id, ids); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	} else {
		e.Hint = "`jobcontrol jobs` lists the jobs of the file"
	}
	return nil, e
}

// checkJob checks what concerns one job alone.
func checkJob(i int, j *Job) Problems {
	var out Problems
	add := func(field, hint, format string, args ...any) {
		out = append(out, Problem{Index: i, Job: j.ID, Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	check := func(field string, err error) {
		if err != nil {
			add(field, HintOf(err), "%s", err.Error())
		}
	}
	check("id", CheckJobID(j.ID))
	for _, t := range []struct {
		field string
		task  *Task
	}{{"check", j.Check}, {"run", j.Run}, {"cleanup", j.Cleanup}} {
		if t.task != nil {
			check(t.field, checkTask(t.task))
			if t.task.HTTP != nil {
				checkHTTP(t.field, j, t.task, add)
			}
		}
	}
	if j.Cleanup != nil && j.Run == nil {
		add("cleanup", "cleanup undoes what run did; a job without run has nothing to clean up", "there is no run")
	}
	for _, f := range []struct{ field, name string }{{"on_delete", j.OnDelete}, {"repr_function", j.Repr}, {"service", j.Service}} {
		if f.name != "" {
			check(f.field, CheckName(strings.ReplaceAll(f.field, "_", " ")+" name", f.name))
		}
	}
	oneOf := func(field, value string, allowed ...string) {
		if value != "" && !slices.Contains(allowed, value) {
			add(field, "use "+strings.Join(allowed, " or "), "%q is not allowed here", value)
		}
	}
	if j.ResultOut != "" && j.Run != nil && j.Run.HTTP != nil {
		add("result", "write it under http: body, json or none", "result is for commands")
	}
	oneOf("stdin", j.Stdin, "json")
	oneOf("result", j.ResultOut, "stdout", "json", "lines")
	oneOf("backoff", j.Backoff, "constant", "exponential")
	oneOf("retry_from", j.RetryFrom, "start", "end")
	oneOf("on_lost", j.OnLost, "retry", "fail")
	if j.Tries < 0 {
		add("tries", "tries counts the attempts in all", "TRIES \"%d\" must be >= 1.", j.Tries)
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"timeout", j.Timeout}, {"soft_timeout", j.SoftTimeout}, {"grace", j.Grace}} {
		if d.value < 0 {
			add(d.field, "", "%v cannot be negative", d.value)
		}
	}
	if j.RetryDelay != nil && *j.RetryDelay < 0 {
		add("retry_delay", "", "RETRY_DELAY \"%v\" cannot be negative", j.RetryDelay.Seconds())
	}
	if j.Timeout > 0 && j.SoftTimeout > j.Timeout {
		add("soft_timeout", "", "the soft timeout %v is longer than the timeout %v", j.SoftTimeout, j.Timeout)
	}
	if j.MaxLost != nil && *j.MaxLost < 0 {
		add("max_lost", "", "%d cannot be negative", *j.MaxLost)
	}
	if j.Priority > math.MaxInt16 || j.Priority < math.MinInt16 {
		add("priority", "", "%d is not between %d and %d", j.Priority, math.MinInt16, math.MaxInt16)
	}
	for code, kind := range j.ExitCodes {
		field := fmt.Sprintf("exit_codes.%d", code)
		if code < 0 || code > 255 {
			add(field, "", "an exit status is between 0 and 255")
		}
		oneOf(field, kind, "retry", "skip", "user", "error", "suspend")
	}
	for _, id := range sortedKeys(j.PinnedBuilds) {
		if !slices.Contains(j.Dependencies, id) {
			add("pinned_builds."+id, "", "job %q is not a dependency of this job", id)
		} else if j.PinnedBuilds[id] < 1 {
			add("pinned_builds."+id, "", "a build id is 1 or more")
		}
	}
	if j.ForEach != nil {
		checkForEach(j, add)
	}
	checkArguments(j, add)
	return out
}

func checkTask(t *Task) error {
	n := 0
	for _, set := range []bool{t.Function != "", t.Shell != "", len(t.Command) > 0, t.HTTP != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return Errorf(Invalid, "a task is exactly one of a function, a shell script, a command and a request")
	}
	if t.Function != "" {
		return CheckName("function name", t.Function)
	}
	return nil
}

// checkArguments checks the placeholders in arguments and environment.
func checkArguments(j *Job, add func(field, hint, format string, args ...any)) {
	isCommand := j.Check.IsCommand() || j.Run.IsCommand() || j.Cleanup.IsCommand()
	walk := func(field string, v any, argv bool) {
		walkPaths(field, v, func(path string, placeholder any) {
			switch p := placeholder.(type) {
			case Retval:
				if !slices.Contains(j.Dependencies, p.Job) {
					hint := fmt.Sprintf("add %q to the dependencies", p.Job)
					if near := Nearest(p.Job, j.Dependencies); near != "" {
						hint = fmt.Sprintf("did you mean %q? Else %s", near, hint)
					}
					add(path, hint, "job %q is not a dependency of this job", p.Job)
				}
			case Secret:
				if argv {
					add(path, "give it in kwargs or env: everybody on the machine can read a process's arguments", "a secret must not be an argument of a command")
				}
			}
		})
	}
	for i, v := range j.Args {
		walk(fmt.Sprintf("args[%d]", i), v, isCommand)
	}
	for _, k := range sortedKeys(j.Kwargs) {
		walk("kwargs."+k, j.Kwargs[k], false)
	}
	for _, k := range sortedKeys(j.Env) {
		walk("env."+k, j.Env[k], false)
		switch j.Env[k].(type) {
		case string, Secret, Retval:
		default:
			add("env."+k, "", "the value must be a string")
		}
	}
	if j.ForEach != nil {
		walk("for_each.items", j.ForEach.Items, false)
	}
	for _, t := range []struct {
		field string
		task  *Task
	}{{"check", j.Check}, {"run", j.Run}, {"cleanup", j.Cleanup}} {
		if t.task == nil {
			continue
		}
		args, err := decodeList(t.task.Args)
		if err != nil {
			add(t.field+".args", "", "%v", err)
		}
		for i, v := range args {
			walk(fmt.Sprintf("%s.args[%d]", t.field, i), v, t.task.IsCommand())
		}
		kwargs, err := decodeMap(t.task.Kwargs)
		if err != nil {
			add(t.field+".kwargs", "", "%v", err)
		}
		for _, k := range sortedKeys(kwargs) {
			walk(t.field+".kwargs."+k, kwargs[k], false)
		}
		if t.task.HTTP != nil {
			t.task.HTTP.walkHTTP(func(name string, v any) { walk(t.field+".http."+name, v, false) })
		}
	}
}

func walkPaths(path string, v any, visit func(path string, placeholder any)) {
	switch v := v.(type) {
	case Retval, Secret:
		visit(path, v)
	case []any:
		for i, e := range v {
			walkPaths(fmt.Sprintf("%s[%d]", path, i), e, visit)
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			walkPaths(path+"."+k, v[k], visit)
		}
	}
}

// Nearest returns the name that is most like the given one, for a "did you
// mean"; "" if none is near.
func Nearest(name string, names []string) string {
	best, bestDistance := "", max(1, len(name)/3)+1
	if len(names) > 5000 {
		names = names[:5000]
	}
	for _, n := range names {
		if n == name || len(n)-len(name) >= bestDistance || len(name)-len(n) >= bestDistance {
			continue
		}
		if d := distance(name, n, bestDistance); d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// distance is the number of edits (with transpositions) between two names, or
// limit if there are as many or more.
func distance(a, b string, limit int) int {
	if len(a) > 128 || len(b) > 128 {
		return limit
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return min(prev[len(b)], limit)
}
