package graph

import "testing"

type identity struct{}

func (identity) Name() string { return "identity" }

// TestIndex: the index of a graph always reaches beyond its nodes, and is right.
func TestIndex(t *testing.T) {
	b := NewBuilder(Float32)
	x := b.Input("x", 2)
	for range 3 * ahead {
		x = b.Apply(identity{}, []Shape{{2}}, []bool{false}, x)
		if n := len(b.graph.AllNodes()); len(b.index.places) < n+ahead/2 {
			t.Fatalf("%d nodes, %d places", n, len(b.index.places))
		}
	}
	for i, n := range b.graph.AllNodes() {
		if place, ok := b.index.places[n.ID()]; !ok || place != i {
			t.Fatalf("node %d is at place %d, in the index at %d", n.ID(), i, place)
		}
	}
}
