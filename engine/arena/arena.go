// Package arena places values with limited lifetimes in one piece of memory.
package arena

import (
	"cmp"
	"math/bits"
	"slices"
)

// Value needs Size units of memory from step First to step Last, both included.
type Value struct {
	First, Last int
	Size        int64
	Offset      int64 // in the arena
}

// Place sets the Offset of every value to a multiple of align so that no two values that
// are alive at the same step share memory. It places large values first, those of equal
// size in their order, each at the lowest offset that is free for its whole life. It
// returns the size of the arena.
func Place(values []Value, align int64) (size int64) {
	order := make([]*Value, len(values))
	for i := range values {
		values[i].Offset = 0
		order[i] = &values[i]
	}
	slices.SortStableFunc(order, func(a, b *Value) int { return cmp.Compare(b.Size, a.Size) })
	var trees [bits.UintSize + 1]*node // by the magnitude of the values' lifetimes
	for i, v := range order {
		for previous := int64(-1); previous < v.Offset; {
			previous = v.Offset
			for _, n := range trees {
				v.Offset = n.lowest(v, v.Offset)
			}
		}
		size = max(size, v.Offset+v.Size)
		t := &trees[bits.LeadingZeros(uint(v.Last-v.First))]
		// Scattered priorities keep the tree flat; no result depends on its shape.
		*t = (*t).insert(&node{value: v, end: (v.Offset + v.Size + align - 1) / align * align, priority: uint32(i+1) * 2654435769})
	}
	return size
}

// node is a placed value in a treap, ordered by Offset and then by First, with a summary
// of itself and all nodes below it. In a deep network most values of the forward pass live
// until the backward pass. A summary lets a search skip all of them at once, which keeps
// the time for placing nearly proportional to the number of values. Lifetimes of similar
// length have a tree of their own, because short ones among long ones would make the
// summaries useless.
type node struct {
	value       *Value
	end         int64 // the first aligned offset after the value
	priority    uint32
	left, right *node
	all         summary
}

// summary describes a run of placed values.
type summary struct {
	first, last int   // the earliest First and the latest Last
	enter, exit int   // the latest First and the earliest Last
	begin, end  int64 // the memory of the run
	gap         int64 // an upper bound of the holes between them
}

// join returns the summary of run s followed by run t.
func (s summary) join(t summary) summary {
	return summary{
		first: min(s.first, t.first), last: max(s.last, t.last),
		enter: max(s.enter, t.enter), exit: min(s.exit, t.exit),
		begin: s.begin, end: max(s.end, t.end),
		gap: max(s.gap, t.gap, t.begin-s.end),
	}
}

// lowest returns the lowest offset >= from at which v, for its whole life, does not overlap
// a value of the tree n.
func (n *node) lowest(v *Value, from int64) int64 {
	if n == nil || v.Last < n.all.first || n.all.last < v.First || n.all.end <= from || n.all.begin-from >= v.Size {
		return from // no value is in the way
	}
	if v.First <= n.all.exit && n.all.enter <= v.Last && n.all.gap < v.Size {
		return n.all.end // all values are in the way, and no hole is large enough
	}
	from = n.left.lowest(v, from)
	if o := n.value; v.First <= o.Last && o.First <= v.Last && o.Offset-from < v.Size {
		from = max(from, n.end)
	}
	return n.right.lowest(v, from)
}

// insert adds m to the tree n and returns the root.
func (n *node) insert(m *node) *node {
	if n == nil {
		m.summarise()
		return m
	}
	if byOffset(m.value, n.value) < 0 {
		n.left = n.left.insert(m)
		if l := n.left; l.priority > n.priority {
			n.left, l.right = l.right, n
			n.summarise()
			n = l
		}
	} else {
		n.right = n.right.insert(m)
		if r := n.right; r.priority > n.priority {
			n.right, r.left = r.left, n
			n.summarise()
			n = r
		}
	}
	n.summarise()
	return n
}

func byOffset(a, b *Value) int {
	return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.First, b.First))
}

// summarise sets the summary of a node from those of its children.
func (n *node) summarise() {
	v := n.value
	n.all = summary{first: v.First, last: v.Last, enter: v.First, exit: v.Last, begin: v.Offset, end: n.end}
	if n.left != nil {
		n.all = n.left.all.join(n.all)
	}
	if n.right != nil {
		n.all = n.all.join(n.right.all)
	}
}

// Conflict returns the indices of two values that are alive at the same step and share
// memory; ok is false if there are none. A value of size 0 shares nothing.
func Conflict(values []Value) (i, j int, ok bool) {
	var begin []int
	for i, v := range values {
		if v.Size > 0 {
			begin = append(begin, i)
		}
	}
	end := slices.Clone(begin)
	slices.SortStableFunc(begin, func(i, j int) int { return cmp.Compare(values[i].First, values[j].First) })
	slices.SortStableFunc(end, func(i, j int) int { return cmp.Compare(values[i].Last, values[j].Last) })
	var alive []int // at the current step, by offset: a new value can only conflict with its neighbours
	find := func(i int) int {
		pos, _ := slices.BinarySearchFunc(alive, values[i].Offset, func(i int, offset int64) int { return cmp.Compare(values[i].Offset, offset) })
		return pos
	}
	for _, i := range begin {
		v := values[i]
		for len(end) > 0 && values[end[0]].Last < v.First {
			pos := find(end[0])
			alive = slices.Delete(alive, pos, pos+1)
			end = end[1:]
		}
		pos := find(i)
		if pos < len(alive) && values[alive[pos]].Offset < v.Offset+v.Size {
			return alive[pos], i, true
		}
		if pos > 0 && values[alive[pos-1]].Offset+values[alive[pos-1]].Size > v.Offset {
			return alive[pos-1], i, true
		}
		alive = slices.Insert(alive, pos, i)
	}
	return 0, 0, false
}
