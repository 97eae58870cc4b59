package graph

import (
	"reflect"
	"unsafe"

	"gorgonia.org/gorgonia"
)

// index fills a cache of Gorgonia's in advance, which makes large graphs much faster.
//
// An ExprGraph looks up a node's position by its ID in a map. On a miss it searches all
// nodes. Building and differentiating a graph misses once for every node, so the time
// grows with the square of the network's depth: more than half a minute at a depth of
// 1024. The map is not exported, and there will be no newer version of Gorgonia, so index
// writes to it through reflection. IDs count from 0 in the order of the nodes and no node
// is removed, so node i is at position i.
type index struct {
	positions map[int64]int // nil if Gorgonia has no such map; then everything still works, slowly
}

func newIndex(g *gorgonia.ExprGraph) index {
	f := reflect.ValueOf(g).Elem().FieldByName("byID")
	if f.Kind() != reflect.Map || f.Type() != reflect.TypeFor[map[int64]int]() {
		return index{}
	}
	return index{*(*map[int64]int)(unsafe.Pointer(f.UnsafeAddr()))}
}

// ahead is the largest number of nodes that Gorgonia adds by itself between two calls of
// grow. They are sums of gradients.
const ahead = 1 << 10

// grow adds entries for nodes to come, given the present number of nodes.
func (x index) grow(nodes int) {
	if x.positions == nil || len(x.positions) > nodes+ahead {
		return
	}
	for i := len(x.positions); i < 2*(nodes+ahead); i++ {
		x.positions[int64(i)] = i
	}
}
