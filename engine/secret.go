package engine

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/redact"
)

// readSecrets reads every secret that the job names, before anything is executed.
func (a *attempt) readSecrets(ctx context.Context) error {
	names := secretNames(a.Job, a.Input.Build)
	if len(names) == 0 {
		return nil
	}
	a.secrets = make(map[string]string, len(names))
	values := make([]string, 0, len(names))
	for _, n := range names {
		if a.Secret == nil {
			return jobcontrol.UserError("secret %q is not known here", n)
		}
		v, err := a.Secret(ctx, n)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return jobcontrol.UserError("%v", err)
		}
		a.secrets[n] = v
		values = append(values, v)
	}
	red, err := redact.New(values)
	if err != nil {
		return jobcontrol.UserError("a secret of this job cannot be masked: %v", err)
	}
	a.red = red
	return nil
}

func secretNames(j *jobcontrol.Job, b *jobcontrol.Build) []string {
	var names []string
	visit := func(ph any) {
		if s, ok := ph.(jobcontrol.Secret); ok && !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	walk := func(v any) { jobcontrol.WalkArguments(v, visit) }
	for _, v := range j.Args {
		walk(v)
	}
	for _, m := range [...]map[string]any{j.Kwargs, j.Env} {
		for _, v := range m {
			walk(v)
		}
	}
	encoded := func(args, kwargs jobcontrol.EncodedArguments) {
		for _, e := range [...]jobcontrol.EncodedArguments{args, kwargs} {
			if !jobcontrol.MayHavePlaceholders(e) {
				continue
			}
			if v, err := jobcontrol.DecodeArguments(e); err == nil {
				walk(v)
			}
		}
	}
	if b != nil {
		encoded(b.Args, b.Kwargs)
	}
	for _, t := range [...]*jobcontrol.Task{j.Check, j.Run, j.Cleanup} {
		if t != nil {
			encoded(t.Args, t.Kwargs)
			if t.HTTP != nil {
				t.HTTP.Placeholders(visit)
			}
		}
	}
	return names
}

func (a *attempt) redactString(s string) string {
	if a.red == nil {
		return s
	}
	return a.red.String(s)
}

func (a *attempt) redactJSON(data json.RawMessage) json.RawMessage {
	if a.red == nil {
		return data
	}
	return a.red.JSON(data)
}

// leastTail is how much of a secret's beginning, at the end of a text, is taken for it.
const leastTail = 3

// maskTail replaces the beginning of a secret at the end of a message: messages
// are cut before they come here, perhaps within one.
func (a *attempt) maskTail(s string) string {
	for _, v := range a.secrets {
		for n := min(len(v)-1, len(s)); n >= leastTail; n-- {
			if strings.HasSuffix(s, v[:n]) {
				return s[:len(s)-n] + "***"
			}
		}
	}
	return s
}

// redactFailure returns a copy without secrets.
func (a *attempt) redactFailure(f *jobcontrol.Failure) *jobcontrol.Failure {
	if f == nil || a.red == nil {
		return f
	}
	c := *f
	c.Message = a.maskTail(a.redactString(f.Message))
	c.Causes = append([]string(nil), f.Causes...)
	for i := range c.Causes {
		c.Causes[i] = a.maskTail(a.redactString(c.Causes[i]))
	}
	c.Frames = append([]jobcontrol.Frame(nil), f.Frames...)
	for i := range c.Frames {
		fr := &c.Frames[i]
		fr.Locals = append([]jobcontrol.Variable(nil), fr.Locals...)
		for k := range fr.Locals {
			fr.Locals[k].Value = a.redactString(fr.Locals[k].Value)
		}
		fr.Source = append([]jobcontrol.SourceLine(nil), fr.Source...)
		for k := range fr.Source {
			fr.Source[k].Text = a.redactString(fr.Source[k].Text)
		}
	}
	return &c
}
