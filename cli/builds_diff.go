package cli

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newBuildsDiff(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "diff N [M]",
		Short: "Compare two builds: definition, arguments, pins, result",
		Long: `Say what differs between build N and build M: the definitions that they were made
with, their arguments, the builds that they used, their results, how they ended
and how long they took. Without M, N is compared with the build of its job before it.`,
		Example: `  jobcontrol builds diff 34        # what is different this time?
  jobcontrol builds diff 12 34`,
		Args: arguments(1, 2, "the numbers of one or two builds"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := numbers("build", args)
			if err != nil {
				return err
			}
			return diffBuilds(cmd.Context(), e, ids)
		},
	}
}

// diffBuildJSON is one of two builds that are compared.
type diffBuildJSON struct {
	shortBuildJSON
	Changed  *bool `json:"changed"`
	Attempts int   `json:"attempts"`
}

// buildsDiffJSON is what differs between two builds.
type buildsDiffJSON struct {
	Old        diffBuildJSON `json:"old"`
	New        diffBuildJSON `json:"new"`
	Definition []changeJSON  `json:"definition"` // without args and kwargs
	Arguments  []changeJSON  `json:"arguments"`
	Pins       []changeJSON  `json:"pins"`
	Result     []changeJSON  `json:"result"`
}

func diffBuilds(ctx context.Context, e *environment, ids []int64) error {
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	builds := make([]*jobcontrol.Build, len(ids))
	for i, id := range ids {
		if builds[i], err = s.client.Build(ctx, id); err != nil {
			return orRun(ctx, s.client, err, id)
		}
	}
	if len(builds) == 1 {
		before, err := previousBuild(ctx, s.client, builds[0])
		if err != nil {
			return err
		}
		builds = slices.Insert(builds, 0, before)
	}
	d, err := compareBuilds(ctx, s.client, builds[0], builds[1])
	if err != nil {
		return err
	}
	if e.json() {
		return e.document(d)
	}
	e.print(e.diffText(d, builds[0], builds[1]))
	return nil
}

// compareBuilds says what differs between two builds.
func compareBuilds(ctx context.Context, c jobcontrol.Reader, old, now *jobcontrol.Build) (*buildsDiffJSON, error) {
	d := &buildsDiffJSON{
		Old: diffBuildJSON{newShortBuildJSON(old), old.Changed, old.Attempts},
		New: diffBuildJSON{newShortBuildJSON(now), now.Changed, now.Attempts},
	}
	var sides [2]buildSide
	for i, b := range []*jobcontrol.Build{old, now} {
		var err error
		if sides[i], err = sideOf(ctx, c, b); err != nil {
			return nil, err
		}
	}
	var err error
	if d.Definition, err = compareDefinitions(sides[0].definition, sides[1].definition); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		to       *[]changeJSON
		old, now json.RawMessage
	}{
		{&d.Arguments, sides[0].arguments, sides[1].arguments},
		{&d.Pins, sides[0].pins, sides[1].pins},
		{&d.Result, sides[0].result, sides[1].result},
	} {
		if *part.to, err = compareJSON(part.old, part.now); err != nil {
			return nil, err
		}
		*part.to = orEmpty(*part.to)
	}
	d.Definition = orEmpty(d.Definition)
	return d, nil
}

// buildSide is what is compared of a build, in JSON.
type buildSide struct {
	definition              *jobcontrol.Job // without arguments
	arguments, pins, result json.RawMessage
}

func sideOf(ctx context.Context, c jobcontrol.Reader, b *jobcontrol.Build) (buildSide, error) {
	frozen, err := c.Definition(ctx, b)
	if err != nil {
		return buildSide{}, err
	}
	bare := *frozen
	bare.Args, bare.Kwargs = nil, nil
	side := buildSide{definition: &bare}
	if side.arguments, err = argumentsJSON(frozen, b); err != nil {
		return side, err
	}
	pins := newBuildJSON(b).Pins // never null
	if side.pins, err = encodeJSON(pins, ""); err != nil || !b.State.Satisfied() {
		return side, err
	}
	side.result, err = resultOf(ctx, c, b.ID)
	if jobcontrol.CodeOf(err) == jobcontrol.NotFound { // the build whose result it has was deleted
		return side, nil
	}
	return side, err
}

// argumentsJSON are the arguments of a build: those that it was given, else its job's.
func argumentsJSON(j *jobcontrol.Job, b *jobcontrol.Build) (json.RawMessage, error) {
	var all struct {
		Args   json.RawMessage `json:"args"`
		Kwargs json.RawMessage `json:"kwargs"`
	}
	var err error
	if all.Args = b.Args; all.Args == nil {
		if all.Args, err = jobcontrol.EncodeArguments(orEmpty(j.Args)); err != nil {
			return nil, err
		}
	}
	if all.Kwargs = b.Kwargs; all.Kwargs == nil {
		kwargs := j.Kwargs
		if kwargs == nil {
			kwargs = map[string]any{}
		}
		if all.Kwargs, err = jobcontrol.EncodeArguments(kwargs); err != nil {
			return nil, err
		}
	}
	return encodeJSON(all, "")
}

// diffText is the comparison for people.
func (e *environment) diffText(d *buildsDiffJSON, old, now *jobcontrol.Build) string {
	at := time.Now()
	t := newTable("Build", "#"+itoa(old.ID), "#"+itoa(now.ID))
	field := func(name string, of func(b *jobcontrol.Build) any) {
		t.add(cell{text: name, colour: bold}, of(old), of(now))
	}
	field("Job", func(b *jobcontrol.Build) any { return b.Job })
	field("State", func(b *jobcontrol.Build) any { return stateCell(b.State) })
	field("Changed", func(b *jobcontrol.Build) any { return changedText(b) })
	field("Start time", func(b *jobcontrol.Build) any { return clock(b.StartedAt) })
	field("Duration", func(b *jobcontrol.Build) any { return buildDuration(b, at) })
	field("Attempts", func(b *jobcontrol.Build) any { return itoa(int64(b.Attempts)) })
	text := t.render(e.streams)
	same := true
	for _, part := range []struct {
		title   string
		changes []changeJSON
	}{{"Definition", d.Definition}, {"Arguments", d.Arguments}, {"Pins", d.Pins}, {"Result", d.Result}} {
		if len(part.changes) > 0 {
			same = false
			text += "\n" + e.paint(bold, part.title) + "\n" + e.changesText(part.changes)
		}
	}
	if same {
		text += "\ndefinition, arguments, pins and result are the same\n"
	}
	return text
}
