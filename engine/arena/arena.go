// Package arena places values that are needed for a time in one piece of memory.
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
	Offset      int64 // where it begins in the arena
}

// Place gives every value its Offset, a multiple of align, so that no two that are needed
// together share memory: largest first, the earlier of equals first, each at the lowest
// offset that is free for its whole life. It returns the size of the arena.
func Place(values []Value, align int64) (size int64) {
	order := make([]*Value, len(values))
	for i := range values {
		values[i].Offset = 0
		order[i] = &values[i]
	}
	slices.SortStableFunc(order, func(a, b *Value) int { return cmp.Compare(b.Size, a.Size) })
	var trees [bits.UintSize + 1]*node // by the length of the values' lives
	for i, v := range order {
		for at := int64(-1); at < v.Offset; {
			at = v.Offset
			for _, n := range trees {
				v.Offset = n.lowest(v, v.Offset)
			}
		}
		size = max(size, v.Offset+v.Size)
		t := &trees[bits.LeadingZeros(uint(v.Last-v.First))]
		// Scattered priorities keep the tree low; no result depends on its form.
		*t = (*t).insert(&node{value: v, end: (v.Offset + v.Size + align - 1) / align * align, priority: uint32(i+1) * 2654435769})
	}
	return size
}

// node is a placed value in a treap, in order of Offset and then of First, with a summary
// of itself and all nodes below it. In a deep network most values of the forward pass are
// needed until the backward pass: the summaries pass over all of these at once, which
// keeps the time for placing nearly proportional to the number of values. That takes a
// tree of its own for lives of similar length: short ones between long ones would leave
// nothing to summarise.
type node struct {
	value       *Value
	end         int64 // the first aligned offset behind the value
	priority    uint32
	left, right *node
	all         summary
}

// summary is what a run of placed values has in common.
type summary struct {
	first, last int   // steps at which the first is needed and at which the last is
	enter, exit int   // the latest First and the earliest Last
	begin, end  int64 // where the run lies
	gap         int64 // no hole between them is larger
}

// and is the summary of a run and the one behind it.
func (s summary) and(t summary) summary {
	return summary{
		first: min(s.first, t.first), last: max(s.last, t.last),
		enter: max(s.enter, t.enter), exit: min(s.exit, t.exit),
		begin: s.begin, end: max(s.end, t.end),
		gap: max(s.gap, t.gap, t.begin-s.end),
	}
}

// lowest returns the lowest offset from at on that is free of the values below n for the
// life of v.
func (n *node) lowest(v *Value, at int64) int64 {
	if n == nil || v.Last < n.all.first || n.all.last < v.First || n.all.end <= at || n.all.begin-at >= v.Size {
		return at // none is in the way
	}
	if v.First <= n.all.exit && n.all.enter <= v.Last && n.all.gap < v.Size {
		return n.all.end // all are, without room between them
	}
	at = n.left.lowest(v, at)
	if o := n.value; v.First <= o.Last && o.First <= v.Last && o.Offset-at < v.Size {
		at = max(at, n.end)
	}
	return n.right.lowest(v, at)
}

// insert adds a node to the tree and returns its root.
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
		n.all = n.left.all.and(n.all)
	}
	if n.right != nil {
		n.all = n.all.and(n.right.all)
	}
}

// Shared returns two values that are needed together and share memory, by their indices;
// ok is false if there are none. Values without a size share nothing.
func Shared(values []Value) (i, j int, ok bool) {
	var begin []int
	for i, v := range values {
		if v.Size > 0 {
			begin = append(begin, i)
		}
	}
	end := slices.Clone(begin)
	slices.SortStableFunc(begin, func(i, j int) int { return cmp.Compare(values[i].First, values[j].First) })
	slices.SortStableFunc(end, func(i, j int) int { return cmp.Compare(values[i].Last, values[j].Last) })
	var alive []int // at the step, by offset: what is new can only share with its neighbours
	find := func(i int) int {
		at, _ := slices.BinarySearchFunc(alive, values[i].Offset, func(i int, offset int64) int { return cmp.Compare(values[i].Offset, offset) })
		return at
	}
	for _, i := range begin {
		v := values[i]
		for len(end) > 0 && values[end[0]].Last < v.First {
			at := find(end[0])
			alive = slices.Delete(alive, at, at+1)
			end = end[1:]
		}
		at := find(i)
		if at < len(alive) && values[alive[at]].Offset < v.Offset+v.Size {
			return alive[at], i, true
		}
		if at > 0 && values[alive[at-1]].Offset+values[alive[at-1]].Size > v.Offset {
			return alive[at-1], i, true
		}
		alive = slices.Insert(alive, at, i)
	}
	return 0, 0, false
}
