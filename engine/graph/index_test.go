package graph

import "testing"

type identity struct{}

func (identity) Name() string { return "identity" }

// TestIndex checks that the index is right and always has entries for further nodes.
func TestIndex(t *testing.T) {
	b := NewBuilder(Float32)
	x := b.Input("x", 2)
	for range 3 * ahead {
		x = b.Apply(identity{}, []Shape{{2}}, []bool{false}, x)
		if n := len(b.graph.AllNodes()); len(b.index.positions) < n+ahead/2 {
			t.Fatalf("%d nodes, %d positions", n, len(b.index.positions))
		}
	}
	for i, n := range b.graph.AllNodes() {
		if p, ok := b.index.positions[n.ID()]; !ok || p != i {
			t.Fatalf("node %d is at position %d, in the index at %d", n.ID(), i, p)
		}
	}
}
