package graph_test

import (
	"testing"

	"github.com/jobcontrol/jobcontrol/graph"
)

func TestPostOrder(t *testing.T) {
	g := mustBuild(t, movie)
	for _, c := range []struct{ targets, want string }{
		{"WatchMovie", "ValidateMovie PickTimeAndDate DetermineDetails InviteFriends FriendsArrive " +
			"CleanCouch FluffPillows PrepareRoom FindTVRemote TurnOnTV InsertDVD SitOnCouch " +
			"PopcornBowl Popcorn Pizza Food StartMovie WatchMovie"},
		{"Food", "PopcornBowl Popcorn Pizza Food"},
		{"Pizza Food", "Pizza PopcornBowl Popcorn Food"},
		{"InsertDVD DetermineDetails InsertDVD", "ValidateMovie InsertDVD PickTimeAndDate DetermineDetails"},
	} {
		equal(t, c.targets, names(g, g.PostOrder(nodes(t, g, c.targets)...)), c.want)
	}
	equal(t, "all", names(g, g.PostOrder()), names(g, g.PostOrder(0)))

	g = mustBuild(t, "c: a\n d:\n a: b\n b:")
	equal(t, "all, no root", names(g, g.PostOrder()), "b a c d")
}

// JC-V31, and ties and weights beyond it.
func TestLongestPathOrder(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"JC-V31", "A: D2 D1\n D1: DD1 DD2\n D2:\n DD1:\n DD2:", "DD2 DD1 D2 D1 A"},
		{"longest way counts", "a: z b\n b: c\n c: z\n z:", "z c b a"},
		{"start is last whatever its name", "z: a y\n a:\n y:", "y a z"},
		{"not above start", "a: b\n b:\n top: a", "b a"},
	} {
		g := mustBuild(t, c.text)
		equal(t, c.name, names(g, g.LongestPathOrder(0)), c.want)
	}
}

func TestClosures(t *testing.T) {
	g := mustBuild(t, movie+"\nalone:\nx: y\ny:")
	of := func(f func(...int32) []int32, targets string) string { return names(g, f(nodes(t, g, targets)...)) }
	equal(t, "below", of(g.DependenciesOf, "DetermineDetails"), "ValidateMovie PickTimeAndDate")
	equal(t, "below, in node order", of(g.DependenciesOf, "SitOnCouch TurnOnTV"),
		"PrepareRoom CleanCouch FluffPillows FindTVRemote")
	equal(t, "a target below another", of(g.DependenciesOf, "Popcorn Food"), "Popcorn PopcornBowl Pizza")
	equal(t, "nothing below", of(g.DependenciesOf, "Pizza"), "")
	equal(t, "above", of(g.DependantsOf, "CleanCouch"), "WatchMovie StartMovie PrepareRoom SitOnCouch")
	equal(t, "above two", of(g.DependantsOf, "Food StartMovie"), "WatchMovie StartMovie")
	equal(t, "of none", of(g.DependantsOf, ""), "")

	equal(t, "component", names(g, g.Component(nodes(t, g, "y")[0])), "x y")
	equal(t, "component of one", names(g, g.Component(nodes(t, g, "alone")[0])), "alone")
	parts := g.Components()
	equal(t, "number of components", len(parts), 3)
	equal(t, "first", names(g, parts[0]), names(g, g.Component(0)))
	equal(t, "size of the first", len(parts[0]), 18)
	equal(t, "others", names(g, parts[1])+"; "+names(g, parts[2]), "alone; x y")
}

func TestSubgraph(t *testing.T) {
	g := mustBuild(t, "a: b c\n b: d\n c: d\n d:")
	s := g.Subgraph([]int32{3, 0, 9, 2, 0, -1})
	equal(t, "nodes in the order given", s.IDs([]int32{0, 1, 2}), []string{"d", "a", "c"})
	equal(t, "len", s.Len(), 3)
	equal(t, "a", names(s, s.Dependencies(1)), "c")
	equal(t, "d", names(s, s.Dependants(0)), "c")
	_, ok := s.Index("b")
	equal(t, "b is gone", ok, false)
	equal(t, "none", g.Subgraph(nil).Len(), 0)

	s = g.Subgraph(g.PostOrder(0))
	equal(t, "place is index", s.IDs([]int32{0, 1, 2, 3}), []string{"d", "b", "c", "a"})
}

func TestCounter(t *testing.T) {
	g := mustBuild(t, movie)
	at := func(id string) int32 { return nodes(t, g, id)[0] }
	c := graph.NewCounter(g, g.PostOrder())
	equal(t, "at first", names(g, c.Ready()),
		"ValidateMovie PickTimeAndDate CleanCouch FluffPillows FindTVRemote PopcornBowl Pizza")
	equal(t, "ValidateMovie", names(g, c.Done(at("ValidateMovie"))), "InsertDVD")
	equal(t, "again", names(g, c.Done(at("ValidateMovie"))), "")
	equal(t, "CleanCouch", names(g, c.Done(at("CleanCouch"))), "")
	equal(t, "FluffPillows", names(g, c.Done(at("FluffPillows"))), "PrepareRoom")
	equal(t, "PrepareRoom", names(g, c.Done(at("PrepareRoom"))), "SitOnCouch")
	equal(t, "pending", c.Pending(), 14)
	equal(t, "PopcornBowl fails", names(g, c.Fail(at("PopcornBowl"))), "Popcorn Food StartMovie WatchMovie")
	equal(t, "Pizza fails, all are blocked", names(g, c.Fail(at("Pizza"))), "")
	equal(t, "a failed one is not done", names(g, c.Done(at("Pizza"))), "")
	equal(t, "a done one does not fail", names(g, c.Fail(at("CleanCouch"))), "")
	equal(t, "pending after", c.Pending(), 8)
	equal(t, "ready after", names(g, c.Ready()), "PickTimeAndDate FindTVRemote InsertDVD SitOnCouch")
}

func TestCounterMembers(t *testing.T) {
	g := mustBuild(t, "a: b c\n b: d\n c: d\n d:")
	c := graph.NewCounter(g, nodes(t, g, "a c b c"))
	equal(t, "outside is satisfied, order as given", names(g, c.Ready()), "c b")
	equal(t, "no member", names(g, c.Done(3))+names(g, c.Fail(3)), "")
	equal(t, "pending", c.Pending(), 3)
	equal(t, "done before its time", names(g, c.Done(0)), "")
	equal(t, "then not released", names(g, c.Done(1))+names(g, c.Done(2)), "")
	equal(t, "nothing left", c.Pending(), 0)

	c = graph.NewCounter(g, g.PostOrder())
	c.Done(1)
	equal(t, "a done one is not blocked", names(g, c.Fail(3)), "c a")
}
