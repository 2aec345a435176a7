package graph_test

import (
	"fmt"
	"strings"

	"github.com/jobcontrol/jobcontrol/graph"
)

// evening returns a small graph: watching a film with popcorn.
func evening() *graph.Graph {
	ids := []string{"watch", "tv", "food", "popcorn", "bowl", "power"}
	deps := map[string][]string{
		"watch":   {"tv", "food"},
		"tv":      {"power"},
		"food":    {"popcorn"},
		"popcorn": {"bowl", "power"},
	}
	g, err := graph.New(ids, func(i int) []string { return deps[ids[i]] })
	if err != nil {
		panic(err)
	}
	return g
}

// All faults are reported together, each with the entry that is to blame.
func ExampleNew() {
	ids := []string{"a", "b", "c", "b"}
	deps := [][]string{{"b"}, {"c", "lost"}, {"a"}, {"b"}}
	_, err := graph.New(ids, func(i int) []string { return deps[i] })
	for _, p := range err.(graph.Problems) {
		fmt.Printf("node %d, entry %2d: %v\n", p.Index, p.DepIndex, p)
	}
	// Output:
	// node 1, entry  1: "b": unknown dependency "lost"
	// node 3, entry -1: duplicate id "b"
	// node 3, entry  0: "b": depends on itself
	// node 0, entry  0: dependency cycle: "a" → "b" → "c" → "a"
}

// The order of execution.
func ExampleGraph_PostOrder() {
	g := evening()
	watch, _ := g.Index("watch")
	for place, i := range g.PostOrder(watch) {
		fmt.Println(place, g.ID(i))
	}
	// Output:
	// 0 power
	// 1 tv
	// 2 bowl
	// 3 popcorn
	// 4 food
	// 5 watch
}

func ExampleGraph_LongestPathOrder() {
	g := evening()
	watch, _ := g.Index("watch")
	fmt.Println(g.IDs(g.LongestPathOrder(watch)))
	// Output: [power bowl popcorn tv food watch]
}

func ExampleGraph_DependenciesOf() {
	g := evening()
	food, _ := g.Index("food")
	fmt.Println(g.IDs(g.DependenciesOf(food)))
	// Output: [popcorn bowl power]
}

func ExampleGraph_DependantsOf() {
	g := evening()
	bowl, _ := g.Index("bowl")
	fmt.Println(g.IDs(g.DependantsOf(bowl)))
	// Output: [watch food popcorn]
}

func ExampleGraph_Components() {
	deps := [][]string{{"b"}, {}, {}, {"c"}}
	g, _ := graph.New([]string{"a", "b", "c", "d"}, func(i int) []string { return deps[i] })
	for _, c := range g.Components() {
		fmt.Println(g.IDs(c))
	}
	// Output:
	// [a b]
	// [c d]
}

// The nodes of a subgraph are in the order in which they are given, so that of
// a post-order each node's place is its index.
func ExampleGraph_Subgraph() {
	g := evening()
	food, _ := g.Index("food")
	s := g.Subgraph(g.PostOrder(food))
	for i := range int32(s.Len()) {
		fmt.Println(i, s.ID(i), s.Dependencies(i))
	}
	// Output:
	// 0 bowl []
	// 1 power []
	// 2 popcorn [0 1]
	// 3 food [2]
}

// JobControl's message for a loop, which shows the way into it.
func ExampleLoop() {
	deps := map[string][]string{"A": {"B", "D"}, "B": {"C"}, "C": {"D"}, "D": {"B"}}
	loop := graph.Loop("A", func(id string) []string { return deps[id] })
	trail, again := loop[:len(loop)-1], loop[len(loop)-1]
	fmt.Printf("Loop detected! ['%s'] -> '%s'\n", strings.Join(trail, "', '"), again)
	// Output: Loop detected! ['A', 'B', 'C', 'D'] -> 'B'
}

// What becomes ready while nodes succeed, and what is blocked when one fails.
func ExampleCounter() {
	g := evening()
	c := graph.NewCounter(g, g.PostOrder())
	fmt.Println("ready", g.IDs(c.Ready()))

	power, _ := g.Index("power")
	fmt.Println("ready", g.IDs(c.Done(power)))

	bowl, _ := g.Index("bowl")
	fmt.Println("blocked", g.IDs(c.Fail(bowl)))
	fmt.Println("pending", c.Pending())
	// Output:
	// ready [power bowl]
	// ready [tv]
	// blocked [popcorn food watch]
	// pending 1
}
