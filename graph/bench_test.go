package graph_test

import (
	"testing"

	"github.com/jobcontrol/jobcontrol/graph"
)

// perShape runs a benchmark for every large shape.
func perShape(b *testing.B, f func(b *testing.B, g *graph.Graph)) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			g, err := graph.New(s.input())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			f(b, g)
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			ids, deps := s.input()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := graph.New(ids, deps); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPostOrder(b *testing.B) {
	perShape(b, func(b *testing.B, g *graph.Graph) {
		for b.Loop() {
			g.PostOrder()
		}
	})
}

func BenchmarkLongestPathOrder(b *testing.B) {
	perShape(b, func(b *testing.B, g *graph.Graph) {
		for b.Loop() {
			g.LongestPathOrder(0)
		}
	})
}

func BenchmarkDependenciesOf(b *testing.B) {
	perShape(b, func(b *testing.B, g *graph.Graph) {
		for b.Loop() {
			g.DependenciesOf(0)
		}
	})
}

func BenchmarkComponents(b *testing.B) {
	perShape(b, func(b *testing.B, g *graph.Graph) {
		for b.Loop() {
			g.Components()
		}
	})
}

func BenchmarkCounter(b *testing.B) {
	perShape(b, func(b *testing.B, g *graph.Graph) {
		all := g.PostOrder()
		for b.Loop() {
			c := graph.NewCounter(g, all)
			for _, i := range all {
				c.Done(i)
			}
		}
	})
}
