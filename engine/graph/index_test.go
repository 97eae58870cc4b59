package graph

import (
	"testing"

	"gorgonia.org/gorgonia"
)

// TestIndex: this version of Gorgonia has the map that index fills, and numbers nodes in
// their order. Otherwise building deep networks would be slow, without any other sign.
func TestIndex(t *testing.T) {
	g := gorgonia.NewGraph()
	if newIndex(g).places == nil {
		t.Error("Gorgonia has no map of the expected name and type")
	}
	for i := range 3 {
		n := gorgonia.NewScalar(g, gorgonia.Float64, gorgonia.WithName(string(rune('a'+i))))
		if n.ID() != int64(i) {
			t.Errorf("node %d has number %d", i, n.ID())
		}
	}
}
