package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/worker"
)

// This file and place.go are the only ones that know which store, which file and
// which executor stand behind a client.

// need says what a command wants to be opened.
type need int

const (
	needStore     need = iota // the store; the file only where it names it
	needStoreWork             // … and to execute what the store knows, with the file's secrets
	needWorker                // … for as long as builds come
	needServices              // the store, which is made, and what the file says of services
	needJobs                  // the file and the store
	needChecks                // … and to execute checks, storing nothing
	needQueue                 // … and to leave jobs to workers
	needWork                  // … and to execute jobs
)

// fileMayMiss tells whether the command needs no file where --storage names the store.
func (n need) fileMayMiss() bool { return n == needStoreWork || n == needWorker || n == needServices }

// makes tells whether the command makes the store where there is none.
func (n need) makes() bool {
	return n == needWorker || n == needServices || n == needQueue || n == needWork
}

// executes tells whether the command executes tasks.
func (n need) executes() bool {
	return n == needStoreWork || n == needWorker || n == needChecks || n == needWork
}

// opened is what a command works with until it closes it.
type opened struct {
	client    jobcontrol.Client
	place     place
	store     jobcontrol.Store
	read      bool             // whether a file was read
	jobs      *jobcontrol.Jobs // without jobs where no file was read
	services  []jobcontrol.Service
	retention jobcontrol.RetentionPolicy
	project   string
	secret    func(ctx context.Context, name string) (string, error)
	executor  jobcontrol.Executor
	guardian  *executor.Guardian // nil: there is none
	closers   []func()
}

// close frees everything, in the reverse order of opening.
func (s *opened) close() {
	for _, f := range slices.Backward(s.closers) {
		f()
	}
}

// child is a helper process, and does not return, if this process was started as one.
func child() {
	executor.Child()
	config.Child()
}

// open opens what a command needs, and says on standard error which Runs wait
// for a decision. parallel is how many attempts execute at a time; 0: the cores.
func (e *environment) open(ctx context.Context, n need, parallel int) (*opened, error) {
	return e.openFor(ctx, n, parallel, 0)
}

// openFor is open for a command that is itself about one Run.
func (e *environment) openFor(ctx context.Context, n need, parallel int, run int64) (*opened, error) {
	f, err := e.fileFor(ctx, n)
	if err != nil {
		return nil, err
	}
	s := &opened{}
	if s.place, err = e.placeOf(ctx, f); err != nil {
		return nil, err
	}
	if s.jobs, err = jobsOf(f); err != nil {
		return nil, err
	}
	if s.store, err = openStore(ctx, s.place, n.makes()); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = s.store.Close() }) // what was written is durable already
	// What somebody only looks at is not changed where others share it.
	if s.place.postgres == "" || n.makes() {
		if err := s.store.Install(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	cfg := worker.Config{Store: s.store, Jobs: s.jobs, Registry: e.program.Registry, Parallel: parallel}
	if f != nil {
		cfg.Secret, cfg.Project, cfg.File = f.Secret, f.Project, f.Path
		s.read, s.secret, s.project, s.services, s.retention = true, f.Secret, f.Project, f.Services, f.Retention
	}
	s.execute(e, n)
	cfg.Executor = s.executor
	client := worker.NewClient(cfg)
	s.client = client
	if err := e.tellInterrupted(ctx, s, run); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// execute starts what executes tasks, for commands that do.
func (s *opened) execute(e *environment, n need) {
	c := executor.Config{Registry: e.program.Registry, UserAgent: e.program.userAgent()}
	if n.executes() && e.program.helpers {
		// It is not closed: it ends when this process does, a moment later, and
		// nobody has to wait for its last look.
		s.guardian = executor.NewGuardian([]string{"jobcontrol-guardian"})
		c.Guardian = s.guardian
		c.Subreaper = true
	}
	x := executor.New(c)
	s.closers = append(s.closers, x.Close)
	s.executor = x
}

// rescue looks for programs that died.
func (s *opened) rescue(ctx context.Context) error {
	_, err := takeAway(ctx, s.store)
	return err
}

// describe tells the store the services of the file.
func (s *opened) describe(ctx context.Context) error {
	if len(s.services) == 0 {
		return nil
	}
	return s.client.PutServices(ctx, s.services)
}

// tellInterrupted looks for programs that died and tells which Runs wait for a
// decision; the Run that the command is about is not told.
func (e *environment) tellInterrupted(ctx context.Context, s *opened, about int64) error {
	found, err := takeAway(ctx, s.store)
	if err != nil {
		return err
	}
	for _, i := range found {
		if len(i.Builds) > 0 && i.Run != about {
			e.note("run %d: %s being executed when the program died", i.Run, wereBuilds(i.Builds))
		}
	}
	const most = 3
	runs, err := s.client.Runs(ctx, jobcontrol.RunFilter{Project: s.project, States: []jobcontrol.RunState{jobcontrol.RunInterrupted}, Limit: most + 1})
	if err != nil {
		return err
	}
	for i := range runs {
		if i == most {
			e.note("more runs were interrupted: `jobcontrol runs --state interrupted`")
			break
		}
		if runs[i].ID != about {
			e.note("%s", interruptedText(&runs[i]))
		}
	}
	return nil
}

// wereBuilds is "builds #3, #4 were".
func wereBuilds(ids []int64) string {
	const most = 10
	var list []string
	for i, id := range ids {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(ids)-most))
			break
		}
		list = append(list, "#"+itoa(id))
	}
	if len(ids) == 1 {
		return "build " + list[0] + " was"
	}
	return "builds " + strings.Join(list, ", ") + " were"
}

// path is the configuration file, and whether it was named.
func (e *environment) path() (path string, named bool) {
	if e.file != "" {
		return e.file, true
	}
	if path := e.getenv("JOBCONTROL_CONFIG_FILE"); path != "" {
		return path, true
	}
	return "jobcontrol.yaml", false
}

// load reads the file; what is wrong with it is one error.
func (e *environment) load(ctx context.Context) (*config.File, error) {
	path, _ := e.path()
	f, err := config.Load(ctx, path, e.configOptions())
	return f, noFile(err, path)
}

// expand returns the text of the file after its templates.
func (e *environment) expand(ctx context.Context) (path, text string, err error) {
	path, _ = e.path()
	text, err = config.Expand(ctx, path, e.configOptions())
	return path, text, noFile(err, path)
}

func (e *environment) configOptions() config.Options {
	o := config.Options{Env: func(name string) (string, bool) {
		value := e.getenv(name)
		return value, value != "" || slices.Contains(e.program.Env, name+"=")
	}}
	if e.program.helpers {
		o.Child = config.ChildCommand()
	}
	return o
}

// noFile makes a missing file an error of usage, with what to do about it.
func noFile(err error, path string) error {
	if jobcontrol.CodeOf(err) != jobcontrol.NotFound {
		return err
	}
	return &jobcontrol.Error{
		Code: jobcontrol.Invalid, Message: "configuration file " + path + " not found",
		Hint: "`jobcontrol init` writes one to start with; -c names another one",
	}
}

// diagnosticsOf are the places of an error of the file, or nil.
func diagnosticsOf(err error) []diagnosticJSON {
	var found config.Diagnostics
	if !errors.As(err, &found) {
		return nil
	}
	out := make([]diagnosticJSON, len(found))
	for i, d := range found {
		out[i] = diagnosticJSON{d.Pos.File, d.Pos.Line, d.Pos.Column, d.Message, orNull(d.Hint)}
	}
	return out
}

// fileFor reads the file where the command needs it: always for its jobs; only
// for the store's sake, it may be missing or be anything where --storage names
// the store; for the secrets it is read then, but need not be there. Nil: none.
func (e *environment) fileFor(ctx context.Context, n need) (*config.File, error) {
	if e.withoutFile(n) {
		return nil, nil
	}
	f, err := e.load(ctx)
	if n == needStore && diagnosticsOf(err) != nil {
		err = &jobcontrol.Error{Code: jobcontrol.Invalid, Cause: err, Hint: "to look at a store all the same, name it: --storage sqlite:PATH"}
	}
	if err == nil && n != needStore {
		e.warn(f)
	}
	return f, err
}

// withoutFile tells whether the command does not read the file.
func (e *environment) withoutFile(n need) bool {
	path, named := e.path()
	if e.storage == "" || n != needStore && (named || !n.fileMayMiss()) {
		return false
	}
	if n == needStore {
		return true
	}
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// jobsOfFile are the jobs of the file, for completion.
func (e *environment) jobsOfFile(ctx context.Context) (*jobcontrol.Jobs, error) {
	f, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	return f.Jobs, nil
}

func jobsOf(f *config.File) (*jobcontrol.Jobs, error) {
	if f == nil {
		return jobcontrol.NewJobs(nil)
	}
	return f.Jobs, nil
}

// warnings are the file's warnings as text.
func (e *environment) warnings(f *config.File) []string {
	out := make([]string, len(f.Warnings))
	for i, w := range f.Warnings {
		out[i] = w.String()
	}
	return out
}

// warn tells the file's warnings on standard error.
func (e *environment) warn(f *config.File) {
	for _, w := range e.warnings(f) {
		e.warning("%s", visible(w))
	}
}

// unknownFunctions says which jobs name functions that this program does not
// have; another program that embeds the command line may have them.
func (e *environment) unknownFunctions(jobs *jobcontrol.Jobs) []string {
	var out []string
	seen := map[string]bool{}
	for _, j := range jobs.All() {
		for _, p := range []jobcontrol.Phase{jobcontrol.PhaseCheck, jobcontrol.PhaseRun, jobcontrol.PhaseCleanup, jobcontrol.PhaseOnDelete} {
			t := j.TaskOf(p)
			if t == nil || t.Function == "" || seen[t.Function] {
				continue
			}
			seen[t.Function] = true
			if _, ok := e.program.Registry.Lookup(t.Function); !ok {
				out = append(out, fmt.Sprintf("job %q: this program has no function %q (`jobcontrol tasks` lists those it has)", j.ID, t.Function))
			}
		}
	}
	return out
}
