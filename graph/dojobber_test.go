package graph_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol/graph"
	"github.com/jobcontrol/jobcontrol/internal/dojobbermodel"
	"pgregory.net/rapid"
)

// TestPropertyDoJobber holds that the post-order is the order in which DoJobber
// attempts the nodes of a phase, and that the counter blocks what DoJobber
// leaves untested.
func TestPropertyDoJobber(t *testing.T) {
	check(t, func(t *rapid.T, g *graph.Graph, _ reach) {
		targets := some(t, g, "targets")
		if len(targets) == 0 {
			return
		}
		in := dojobbermodel.Input{Targets: g.IDs(targets), DefaultTries: 1}
		for i := range int32(g.Len()) {
			in.Nodes = append(in.Nodes, dojobbermodel.Node{ID: g.ID(i), Deps: g.IDs(g.Dependencies(i))})
		}
		fails := g.IDs(some(t, g, "fails"))
		in.Outcome = func(id string, _ int, _ dojobbermodel.Step) error {
			if slices.Contains(fails, id) {
				return errors.New("no")
			}
			return nil
		}
		res, err := dojobbermodel.Execute(in)
		if err != nil {
			t.Fatal(err)
		}
		var tried []string
		for _, e := range res.Events {
			if id, _, ok := strings.Cut(e, ".check: "); ok {
				tried = append(tried, id)
			}
		}

		order := g.PostOrder(targets...)
		c := graph.NewCounter(g, order)
		ready := c.Ready()
		var want, blocked []string
		for _, i := range order {
			if !slices.Contains(ready, i) {
				continue
			}
			want = append(want, g.ID(i))
			if slices.Contains(fails, g.ID(i)) {
				blocked = append(blocked, g.IDs(c.Fail(i))...)
			} else {
				ready = append(ready, c.Done(i)...)
			}
		}
		if !slices.Equal(tried, want) {
			t.Fatalf("DoJobber tries %v, here %v", tried, want)
		}
		for id, s := range res.Status {
			if (s == dojobbermodel.Untested) != slices.Contains(blocked, id) {
				t.Fatalf("%s is %v in DoJobber, blocked here: %v", id, s, blocked)
			}
		}
	})
}
