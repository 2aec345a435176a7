package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// each is an attempt of a build that stands for many: the first one finds the
// items and ends with an expansion, the one after them gathers their results.
func (a *attempt) each(ctx context.Context) (jobcontrol.Ended, error) {
	items := jobcontrol.ItemPins(a.Job.ID, a.Input.Build.Pins)
	phase, step := jobcontrol.PhaseExpand, a.expand
	if len(items) > 0 {
		phase, step = jobcontrol.PhaseGather, func(ctx context.Context, ended *jobcontrol.Ended) error { return a.gather(ctx, items, ended) }
	}
	a.rec.setPhase(phase)
	begin := time.Now()
	var ended jobcontrol.Ended
	var failure *jobcontrol.Failure
	err := context.Cause(ctx)
	if err == nil {
		err = step(context.WithoutCancel(ctx), &ended)
	}
	if err == nil && ended.Expansion != nil {
		err = context.Cause(ctx) // nothing is to be begun any more
	}
	result := jobcontrol.PhaseResult{Phase: phase, Passed: err == nil, Duration: time.Since(begin)}
	if err != nil && !storeFault(err) {
		failure, err = noTry(jobcontrol.FailureOf(err, phase)), nil
		result.Error = failure.Message
	}
	logs, progress, rerr := a.rec.close()
	if err = errors.Join(err, rerr); err != nil {
		return jobcontrol.Ended{}, err
	}
	a.phases = []jobcontrol.PhaseResult{result}
	a.observe(phase, failure)
	ended.Logs, ended.Progress = logs, progress
	if a.end(&ended, failure); failure != nil {
		ended.Expansion = nil
	} else if ended.Expansion != nil {
		ended.State = jobcontrol.Waiting
	}
	return ended, nil
}

// log writes a record into the build's log.
func (a *attempt) log(level jobcontrol.Level, format string, args ...any) {
	a.rec.Log(jobcontrol.LogRecord{Time: a.now(), Level: level, Logger: "jobcontrol", Message: fmt.Sprintf(format, args...)})
}

// expand finds the items. Without any the build has succeeded.
func (a *attempt) expand(ctx context.Context, ended *jobcontrol.Ended) error {
	b := a.Input.Build
	items, err := a.Job.ItemsOf(func(job string) (any, error) {
		return jobcontrol.ResultOf(ctx, a.Engine.Build, job, b.Pins[job])
	})
	if err != nil {
		return err
	}
	if len(items) == 0 {
		ended.Result = json.RawMessage(`{}`)
		return nil
	}
	key, err := a.serviceKey(ctx)
	if err != nil {
		return err
	}
	if ended.Expansion, err = a.Job.Expand(ctx, b, items, a.Engine.Build, key); err != nil {
		return err
	}
	if n := len(ended.Expansion.Pins); n > 0 {
		a.log(jobcontrol.LevelInfo, "%d of %d items are taken from build %d", n, len(items), b.AgainOf)
	}
	return nil
}

// serviceKey returns what makes the key of an item's build in its service.
func (a *attempt) serviceKey(ctx context.Context) (func(args, kwargs jobcontrol.EncodedArguments) (string, error), error) {
	if a.Services == nil {
		return nil, nil
	}
	list, err := a.Services(ctx)
	if err != nil {
		return nil, err
	}
	p := jobcontrol.Planner{Services: list}
	child := *a.Job.OfItems()
	child.Service = a.Input.Build.Service
	return func(args, kwargs jobcontrol.EncodedArguments) (string, error) {
		b := jobcontrol.Build{Args: args, Kwargs: kwargs}
		err := p.Enqueueing(&child, &b)
		return b.Key, err
	}, nil
}

// Of the items that failed so many are named, and so many failures are causes.
const (
	mostNamed  = 20
	mostCauses = 5
)

// gather makes the result of those of the items, by key.
func (a *attempt) gather(ctx context.Context, items map[string]int64, ended *jobcontrol.Ended) error {
	results := make(map[string]json.RawMessage, len(items))
	var failed, causes []string
	good := 0
	size := 2
	for _, key := range slices.Sorted(maps.Keys(items)) {
		b, err := a.Engine.Build(ctx, items[key])
		switch {
		case errors.Is(err, jobcontrol.ErrNotFound):
			failed = append(failed, key+" (deleted)")
			continue
		case err != nil:
			return err
		}
		ended.Changed = ended.Changed || b.Run == a.Input.Build.Run && b.Changed != nil && *b.Changed
		switch b.State {
		case jobcontrol.Successful:
			good++
			value, err := a.resultOf(ctx, b)
			if err != nil {
				return err
			}
			if size += len(value) + len(key) + len(`"":,`); size <= jobcontrol.MaxResult {
				results[key] = value
			}
		case jobcontrol.Skipped:
			results[key] = nil
		case jobcontrol.Failed:
			failed = append(failed, key)
			message := "without a message"
			if b.Failure != nil {
				message = b.Failure.Message
			}
			if len(causes) < mostCauses {
				causes = append(causes, key+": "+message)
			}
			if len(failed) <= mostNamed {
				a.log(jobcontrol.LevelWarning, "item %s, build %d, failed: %s", key, b.ID, message)
			}
		default:
			failed = append(failed, key+" ("+b.State.String()+")")
		}
	}
	what := fmt.Sprintf("%d of %d items failed: %s", len(failed), len(items), named(failed))
	switch {
	case len(failed) > 0 && (good == 0 || !a.Job.ForEach.Partial):
		return &jobcontrol.Failure{Kind: jobcontrol.FailUser, Message: what, Causes: causes}
	case size > jobcontrol.MaxResult:
		return jobcontrol.UserError("the results of %d items have %d bytes of JSON together, more than %d; store them elsewhere and return pointers to them",
			len(items)-len(failed), size, jobcontrol.MaxResult)
	case len(failed) > 0:
		a.log(jobcontrol.LevelWarning, "%s", what)
	}
	var err error
	ended.Result, err = jobcontrol.EncodeResult(results)
	return err
}

// named lists keys for a person.
func named(keys []string) string {
	if more := len(keys) - mostNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(keys[:mostNamed], ", "), more)
	}
	return strings.Join(keys, ", ")
}

// resultOf returns the result that stands for a build; nil: it has none.
func (a *attempt) resultOf(ctx context.Context, b *jobcontrol.Build) (json.RawMessage, error) {
	for range 100 {
		if len(b.Result) > 0 || b.ResultOf == 0 || b.ResultOf == b.ID {
			break
		}
		old, err := a.Engine.Build(ctx, b.ResultOf)
		if errors.Is(err, jobcontrol.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		b = old
	}
	return b.Result, nil
}
