package lower

import (
	"fmt"
	"slices"
	"sort"

	"hatchery/engine/cuda/kernels"
)

// place gives every value in the arena its place. Each stream has a part of the
// arena, in which values share memory if one is read for the last time before
// the other is written; a value that another stream reads keeps its place to
// the end of the pass, since nothing is known of when that is. Behind a
// stream's values is its scratch.
func (l *lowering) place() error {
	p := l.program
	var most []int64 // scratch of each stream
	most = make([]int64, p.Streams)
	for _, v := range p.values {
		v.first, v.last = -1, -1
	}
	for i, o := range p.Operations {
		most[o.Stream] = max(most[o.Stream], o.scratch)
		for _, v := range o.Out {
			if v != nil {
				v.first, v.stream = i, o.Stream
			}
		}
	}
	for s := range most {
		most[s] = max(most[s], l.lastScratch)
	}
	for i, o := range p.Operations {
		for _, v := range o.In {
			if v != nil {
				v.last = i
				v.whole = v.whole || v.stream != o.Stream
			}
		}
	}
	for s := range p.Streams {
		var mine []*Value
		for _, v := range p.values {
			if v.first < 0 {
				return fmt.Errorf("lower: a value that nobody writes")
			}
			if v.stream == s {
				mine = append(mine, v)
			}
		}
		bytes := fit(mine, len(p.Operations))
		for _, v := range mine {
			v.At = kernels.Buffer{ID: Arena, Offset: v.At.Offset + p.ArenaBytes}
		}
		p.ArenaBytes += bytes
		room := &Value{DType: kernels.F32, Elements: int(most[s]+3) / 4, At: kernels.Buffer{ID: Arena, Offset: p.ArenaBytes}, stream: s, whole: true}
		p.scratch = append(p.scratch, room)
		p.ArenaBytes += roundUp(room.Bytes())
	}
	return p.verify()
}

// end is the last operation during which the value's place must be left alone.
func (v *Value) end(operations int) int {
	if v.whole {
		return operations
	}
	return max(v.first, v.last)
}

// fit places values from 0 on, largest first, each at the lowest offset that is
// free for its whole life, and returns the bytes that takes.
func fit(values []*Value, operations int) (bytes int64) {
	order := slices.Clone(values)
	sort.SliceStable(order, func(i, j int) bool { return order[i].Bytes() > order[j].Bytes() })
	var placed []*Value // by offset
	for _, v := range order {
		at := int64(0)
		for _, o := range placed {
			if v.first > o.end(operations) || o.first > v.end(operations) {
				continue
			}
			if o.At.Offset-at >= v.Bytes() {
				break
			}
			at = max(at, roundUp(o.At.Offset+o.Bytes()))
		}
		v.At.Offset = at
		bytes = max(bytes, roundUp(at+v.Bytes()))
		i, _ := slices.BinarySearchFunc(placed, at, func(o *Value, at int64) int { return int(o.At.Offset - at) })
		placed = slices.Insert(placed, i, v)
	}
	return bytes
}

// verify proves the program: an operation reads what was written before it, on
// its own stream or on stream 0 before its stream left that; no two values that
// are alive together share memory, nor does scratch; and values of different
// streams never do.
func (p *Program) verify() error {
	written := map[*Value]*Operation{}
	for i, o := range p.Operations {
		for _, v := range o.In {
			if v == nil || v.At.ID != Arena {
				continue
			}
			w := written[v]
			if w == nil {
				return fmt.Errorf("lower: operation %d (%s) reads what is not written yet", i, o.Name)
			}
			if w.Stream != o.Stream && w.owner >= 0 {
				return fmt.Errorf("lower: operation %d (%s) reads what another stream writes (%s)", i, o.Name, w.Name)
			}
		}
		for _, v := range o.Out {
			if v != nil {
				written[v] = o
			}
		}
	}
	all := append(slices.Clone(p.values), p.scratch...)
	sort.Slice(all, func(i, j int) bool { return all[i].At.Offset < all[j].At.Offset })
	for i, a := range all {
		to := a.At.Offset + a.Bytes()
		if to > p.ArenaBytes {
			return fmt.Errorf("lower: %s lies outside the arena", p.describe(a))
		}
		for _, b := range all[i+1:] {
			if b.At.Offset >= to {
				break
			}
			apart := a.stream == b.stream && (a.first > b.end(len(p.Operations)) || b.first > a.end(len(p.Operations)))
			if !apart && b.Bytes() > 0 {
				return fmt.Errorf("lower: %s and %s share memory", p.describe(a), p.describe(b))
			}
		}
	}
	return nil
}

// describe is how messages call a value in the arena.
func (p *Program) describe(v *Value) string {
	if slices.Contains(p.scratch, v) {
		return "scratch"
	}
	return fmt.Sprintf("the output of operation %d (%s)", v.first, p.Operations[v.first].Name)
}
