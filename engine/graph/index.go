package graph

import (
	"reflect"
	"unsafe"

	"gorgonia.org/gorgonia"
)

// index knows where Gorgonia keeps each node of a graph.
//
// An ExprGraph finds a node by its number: through a map, or, the first time that it is
// asked for one, by looking through all nodes. Making and differentiating a graph asks
// once for every node, which takes time with the square of the network's depth: more than
// half a minute at a depth of 1024. The map is not exported and this version of Gorgonia
// is the last, so index fills it from outside. Numbers count from 0 in the order of the
// nodes and none is removed: node i is at place i.
type index struct {
	places map[int64]int // nil if Gorgonia has no such map: it works all the same, slowly
}

func newIndex(g *gorgonia.ExprGraph) index {
	f := reflect.ValueOf(g).Elem().FieldByName("byID")
	if f.Kind() != reflect.Map || f.Type() != reflect.TypeFor[map[int64]int]() {
		return index{}
	}
	return index{*(*map[int64]int)(unsafe.Pointer(f.UnsafeAddr()))}
}

// ahead is how many nodes Gorgonia can add itself between two calls of grow: sums of
// gradients.
const ahead = 1 << 10

// grow makes room for nodes beside the given number.
func (x index) grow(nodes int) {
	if x.places == nil || len(x.places) > nodes+ahead {
		return
	}
	for i := len(x.places); i < 2*(nodes+ahead); i++ {
		x.places[int64(i)] = i
	}
}
