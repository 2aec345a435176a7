package cli

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// requestOptions are the flags of everything that makes a Run or a Plan.
type requestOptions struct {
	args       []string
	kwargs     []string
	tries      int
	retryDelay string
	noCleanup  bool
	deps       string
	dependants bool
	pins       []string
	yes        bool
}

// verbFlags adds the flags that `run` and `build` share.
func (o *requestOptions) verbFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.args, "arg", nil, "positional argument instead of the job's own: JSON, else a `string` (repeatable)")
	f.StringArrayVar(&o.kwargs, "kwarg", nil, "keyword argument as `name=value`: JSON, else a string (repeatable)")
	f.IntVar(&o.tries, "tries", 0, "attempts in all for jobs that set none (run: 3, build: 1)")
	f.StringVar(&o.retryDelay, "retry-delay", "", "`time` between attempts for jobs that set none: seconds, or 5m (default 1s)")
	f.BoolVar(&o.noCleanup, "no-cleanup", false, "leave the clean-up steps to: jobcontrol runs cleanup")
	f.BoolVar(&o.yes, "yes", false, "confirm that protected jobs may be built")
}

// buildFlags adds the flags that only `build` has.
func (o *requestOptions) buildFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.deps, "deps", "", "build dependencies first: `which` of none, missing, outdated, all (default none)")
	f.BoolVar(&o.dependants, "dependants", false, "afterwards rebuild everything that depends on the job")
	f.StringArrayVar(&o.pins, "pin", nil, "use this build of a dependency, as `job=build` (repeatable)")
	_ = cmd.RegisterFlagCompletionFunc("deps", cobra.FixedCompletions([]string{"none", "missing", "outdated", "all"}, cobra.ShellCompDirectiveNoFileComp))
}

// request makes the request of the flags.
func (o *requestOptions) request(verb jobcontrol.Verb, jobs []string) (jobcontrol.Request, error) {
	r := jobcontrol.Request{
		Verb: verb, Jobs: jobs, Tries: o.tries, Deps: o.deps, Dependants: o.dependants,
		Confirm: o.yes, NoCleanup: o.noCleanup,
	}
	for _, text := range o.args {
		r.Args = append(r.Args, value(text))
	}
	for _, text := range o.kwargs {
		name, v, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return r, usage("use --kwarg name=value", "--kwarg %q has no name and value", text)
		}
		if r.Kwargs == nil {
			r.Kwargs = map[string]any{}
		}
		if _, twice := r.Kwargs[name]; twice {
			return r, usage("", "--kwarg %s is given twice", name)
		}
		r.Kwargs[name] = value(v)
	}
	for _, text := range o.pins {
		i := strings.LastIndexByte(text, '=')
		id, err := int64(0), error(nil)
		if i > 0 {
			id, err = strconv.ParseInt(strings.TrimPrefix(text[i+1:], "#"), 10, 64)
		}
		if i <= 0 || err != nil || id < 1 {
			return r, usage("use --pin job=build, such as --pin crawl=12", "--pin %q names no job and build", text)
		}
		if r.Pins == nil {
			r.Pins = map[string]int64{}
		}
		r.Pins[text[:i]] = id
	}
	if o.retryDelay != "" {
		d, err := parseDuration(o.retryDelay)
		if err != nil {
			return r, usage("a number of seconds, or 5m, 1h30m", "--retry-delay %q is no time", o.retryDelay)
		}
		r.RetryDelay = &d
	}
	return r, nil
}

// checkTries refuses --tries below 1, where it was given.
func (o *requestOptions) checkTries(cmd *cobra.Command) error {
	if cmd.Flags().Changed("tries") && o.tries < 1 {
		return usage("tries counts the attempts in all", "--tries %d is less than 1", o.tries)
	}
	return nil
}

// value is the JSON that a text is, else the text itself.
func value(text string) any {
	if v, err := jobcontrol.DecodeJSON([]byte(text)); err == nil {
		return v
	}
	return text
}

// parseDuration takes a number of seconds or Go's form; not negative.
func parseDuration(text string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(text, 64)
	d := time.Duration(seconds * float64(time.Second))
	if err != nil {
		d, err = time.ParseDuration(text)
	} else if math.IsNaN(seconds) || seconds > float64(math.MaxInt64)/float64(time.Second) {
		err = fmt.Errorf("out of range")
	}
	if err == nil && d < 0 {
		err = fmt.Errorf("negative")
	}
	return d, err
}

// executeOptions are the flags of everything that executes jobs in the foreground.
type executeOptions struct {
	parallel int
	verbose  bool
	debug    bool
}

func (o *executeOptions) flags(cmd *cobra.Command) {
	o.parallelFlag(cmd)
	o.verboseFlags(cmd)
}

func (o *executeOptions) parallelFlag(cmd *cobra.Command) {
	cmd.Flags().IntVarP(&o.parallel, "parallel", "j", 0, fmt.Sprintf("execute `n` attempts at a time (default the cores: %d)", runtime.GOMAXPROCS(0)))
}

func (o *executeOptions) verboseFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&o.verbose, "verbose", "v", false, "on standard error, a line per check, run and recheck")
	f.BoolVar(&o.debug, "debug", false, "-v, with error messages, stacks and clean-up steps")
}

func (o *executeOptions) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("parallel") && o.parallel < 1 {
		return usage("", "-j %d is less than 1", o.parallel)
	}
	return nil
}

// number reads the id of a build or a Run.
func number(what, text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(text, "#"), 10, 64)
	if err != nil || n < 1 {
		return 0, usage(fmt.Sprintf("`jobcontrol %ss` lists them", what), "%q is not the number of a %s", text, what)
	}
	return n, nil
}

// buildNumber reads the id of a build for a command. Where a job is named instead,
// the error names its newest build.
func (e *environment) buildNumber(cmd *cobra.Command, text string) (int64, error) {
	id, err := number("build", text)
	if err == nil {
		return id, nil
	}
	s, openErr := e.open(cmd.Context(), needStore, 0)
	if openErr != nil {
		return 0, err
	}
	defer s.close()
	builds, _ := s.client.Builds(cmd.Context(), jobcontrol.BuildFilter{Project: s.project, Job: text, Limit: 1, Brief: true})
	if len(builds) == 0 {
		return 0, err
	}
	return 0, usage(fmt.Sprintf("the newest build of this job: `%s %d`", cmd.CommandPath(), builds[0].ID), "%v", err)
}

// orRun adds to the error of a build that there is not that the number is a Run's.
func orRun(ctx context.Context, c jobcontrol.Reader, err error, id int64) error {
	if jobcontrol.CodeOf(err) != jobcontrol.NotFound {
		return err
	}
	if _, runErr := c.Run(ctx, id); runErr != nil {
		return err
	}
	return &jobcontrol.Error{Code: jobcontrol.NotFound, Cause: err, Hint: fmt.Sprintf("it is the number of a run: `jobcontrol runs show %d`", id)}
}

// numbers reads the ids of builds or Runs.
func numbers(what string, texts []string) ([]int64, error) {
	ids := make([]int64, len(texts))
	for i, text := range texts {
		var err error
		if ids[i], err = number(what, text); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// usage is an error of how a command was called.
func usage(hint, format string, args ...any) error {
	return &jobcontrol.Error{Code: jobcontrol.Invalid, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
