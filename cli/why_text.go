package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// waiting says what a build that is not final waits for.
func (x *explainer) waiting(b *jobcontrol.Build, waitsFor []shortBuildJSON) (string, error) {
	run, err := x.s.client.Run(x.ctx, b.Run)
	if err != nil {
		return "", err
	}
	switch {
	case b.State == jobcontrol.Held:
		return fmt.Sprintf("it is held: jobcontrol builds release %d", b.ID), nil
	case run.State == jobcontrol.RunInterrupted:
		return fmt.Sprintf("its run was interrupted: jobcontrol runs resume %d, or runs cancel %d", run.ID, run.ID), nil
	case b.State == jobcontrol.Suspended:
		return fmt.Sprintf("it waits for a person: jobcontrol builds resume %d", b.ID), nil
	case b.State == jobcontrol.Waiting:
		names := make([]string, len(waitsFor))
		for i, w := range waitsFor {
			names[i] = fmt.Sprintf("%s #%d, which is %s", w.Job, w.Build, w.State)
		}
		const most = 10
		if more := len(names) - most; more > 0 {
			names = append(names[:most], fmt.Sprintf("and %d more", more))
		}
		return "it waits for " + cmp.Or(strings.Join(names, "; "), "its dependencies"), nil
	case b.State == jobcontrol.Scheduled:
		return "it is not executed before " + clock(b.ReadyAt), nil
	case b.State == jobcontrol.Running:
		return "it is being executed since " + clock(b.StartedAt), nil
	}
	return x.queued(b)
}

// queued says why a build that could be executed is not.
func (x *explainer) queued(b *jobcontrol.Build) (string, error) {
	name := cmp.Or(b.Service, jobcontrol.DefaultService)
	services, err := x.s.client.Services(x.ctx)
	if err != nil {
		return "", err
	}
	for i := range services {
		if services[i].Name == name && services[i].Paused {
			return fmt.Sprintf("its service is paused: jobcontrol services resume %s", name), nil
		}
	}
	workers, err := x.s.client.Workers(x.ctx)
	if err != nil {
		return "", err
	}
	if len(workers) == 0 {
		return "no worker is there: start `jobcontrol worker`", nil
	}
	return "it waits for a free worker of the service " + name, nil
}

// whyText is the explanation for people.
func (e *environment) whyText(w *whyJSON, info *jobcontrol.JobInfo) string {
	t := newTable()
	field := func(name string, v any) { t.add(cell{text: name, colour: bold}, v) }
	field("Job", w.ID)
	status := statusCell(w.Status)
	if flags := flagsOf(info); len(flags) > 0 {
		status.text += " (" + strings.Join(flags, ", ") + ")"
	}
	field("Status", status)
	worked := "never"
	if b := w.LastSuccess; b != nil {
		worked = fmt.Sprintf("#%d", b.Build)
		if b.Seconds == nil {
			worked += ", which executed nothing"
		} else {
			worked += fmt.Sprintf(", finished %s, took %s", clock(timeOf(b.FinishedAt)), elapsed(timeOf(b.FinishedAt).Sub(timeOf(b.StartedAt))))
		}
	}
	field("Last worked", worked)
	text := t.render(e.streams)
	section := func(title, body string) {
		if body != "" {
			text += "\n" + e.paint(bold, title) + "\n" + body
		}
	}
	section("Outdated", outdatedText(w.Outdated))
	section("Dependencies without a successful build", missingText(w.MissingJobs))
	section("Builds that are not finished", unfinishedText(w.Unfinished))
	if f := w.LastFailure; f != nil {
		section("Why the last build failed", e.whyFailureText(f, "    "))
	}
	if w.LastSuccess != nil {
		section(fmt.Sprintf("What has changed in its definition since #%d", w.LastSuccess.Build), e.changesText(w.Changes))
	}
	if w.Protected {
		text += "\nit is protected: it wants --yes to be built\n"
	}
	return text + whyHint(w)
}

func outdatedText(list []outdatedJSON) string {
	var b strings.Builder
	for _, o := range list {
		for _, because := range o.Because {
			fmt.Fprintf(&b, "    %s: %s\n", pathText(o.Path), line(because))
		}
	}
	return b.String()
}

// pathText is the way from a job to one that it depends on.
func pathText(path []string) string { return line(strings.Join(path, " → ")) }

func missingText(list []missingJSON) string {
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "    %s: %s", pathText(m.Path), m.Status)
		if m.LatestBuild != nil && m.LatestState != nil {
			fmt.Fprintf(&b, ", its latest build is #%d, %s", *m.LatestBuild, *m.LatestState)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func unfinishedText(list []unfinishedJSON) string {
	var b strings.Builder
	for _, u := range list {
		fmt.Fprintf(&b, "    #%d of run %d is %s: %s\n", u.Build, u.Run, u.State, line(u.Why))
	}
	return b.String()
}

// whyFailureText is a failed build, or a blocked one and those that block it.
func (e *environment) whyFailureText(f *whyFailureJSON, prefix string) string {
	text := prefix + fmt.Sprintf("%s #%d is %s", line(f.Job), f.Build, f.State)
	// Those of a build with items do nothing that may be tried again.
	gathers := f.Failure != nil && f.Failure.Phase != nil && *f.Failure.Phase == string(jobcontrol.PhaseGather)
	if f.Attempt > 0 && !gathers {
		text += fmt.Sprintf(", attempt %d", f.Attempt)
	}
	text += ", " + clock(timeOf(f.FinishedAt)) + "\n"
	if f.Failure != nil && f.Failure.Message != "" {
		text += e.messageText(prefix+"  ", f.Failure.Message, f.Failure.Causes)
	}
	for i := range f.Through {
		text += e.whyFailureText(&f.Through[i], prefix+"  ")
	}
	return text + prefix + "hint: " + f.Command + "\n"
}

// whyHint says what to do about a job that is not as it should be.
func whyHint(w *whyJSON) string {
	switch {
	case len(w.Unfinished) > 0 || w.LastFailure != nil:
		return ""
	case len(w.MissingJobs) > 0:
		return "hint: jobcontrol run " + shellWord(line(w.ID)) + "\n"
	case len(w.Outdated) > 0:
		return "hint: jobcontrol build " + shellWord(line(w.ID)) + " --deps outdated\n"
	case len(w.Changes) > 0 || w.LastSuccess == nil:
		return "hint: jobcontrol build " + shellWord(line(w.ID)) + "\n"
	}
	return "\nnothing is wrong with it\n"
}

// timeOf is the time of a stamp; the zero time for none.
func timeOf(s *stamp) time.Time {
	if s == nil {
		return time.Time{}
	}
	return time.Time(*s)
}
