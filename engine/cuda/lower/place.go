package lower

import (
	"fmt"
	"slices"

	"hatchery/engine/arena"
	"hatchery/engine/cuda/kernels"
)

// place gives every value in the arena its offset. Each stream has a part of the arena, in
// which two values share memory if the last read of one comes before the write of the
// other. The memory of a value that another stream reads is not reused in the pass, since
// the time of that read is unknown. A stream's scratch follows its values.
func (l *lowering) place() error {
	p := l.program
	most := make([]int64, p.Streams) // bytes of each stream's scratch
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
		most[s] = max(most[s], l.epilogueBytes)
	}
	for i, o := range p.Operations {
		for _, v := range o.In {
			if v != nil {
				v.last = i
				v.permanent = v.permanent || v.stream != o.Stream
			}
		}
	}
	byStream := make([][]*Value, p.Streams)
	for _, v := range p.values {
		if v.first < 0 {
			return fmt.Errorf("lower: no operation writes a value that others read")
		}
		byStream[v.stream] = append(byStream[v.stream], v)
	}
	for s, values := range byStream {
		lives := p.lives(values)
		bytes := roundUp(arena.Place(lives, alignment))
		for i, v := range values {
			v.At = kernels.Buffer{ID: Arena, Offset: lives[i].Offset + p.ArenaBytes}
		}
		p.ArenaBytes += bytes
		scratch := &Value{DType: kernels.F32, Elements: int(most[s]+3) / 4, At: kernels.Buffer{ID: Arena, Offset: p.ArenaBytes}, stream: s, permanent: true}
		p.scratch = append(p.scratch, scratch)
		p.ArenaBytes += roundUp(scratch.Bytes())
	}
	return p.verify()
}

// lives returns values of the arena in the form of package arena: sizes in bytes, lifetimes
// in operations.
func (p *Program) lives(values []*Value) []arena.Value {
	lives := make([]arena.Value, len(values))
	for i, v := range values {
		last := max(v.first, v.last)
		if v.permanent {
			last = len(p.Operations)
		}
		lives[i] = arena.Value{First: v.first, Last: last, Size: v.Bytes(), Offset: v.At.Offset}
	}
	return lives
}

// verify checks that an operation reads only values that were written before it, on its own
// stream or by shared operations; that values that are alive at the same time, and scratch,
// do not share memory; and that values of different streams never do.
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
	parts := make([]arena.Value, p.Streams) // of each stream, for the whole program
	for _, v := range p.scratch {
		parts[v.stream].Offset = v.At.Offset
	}
	for _, v := range all {
		to := v.At.Offset + v.Bytes()
		if to > p.ArenaBytes {
			return fmt.Errorf("lower: %s lies outside the arena", p.describe(v))
		}
		part := &parts[v.stream]
		from := min(part.Offset, v.At.Offset)
		part.Offset, part.Size = from, max(part.Offset+part.Size, to)-from
	}
	if i, j, ok := arena.Conflict(parts); ok {
		return fmt.Errorf("lower: streams %d and %d share memory", i, j)
	}
	if i, j, ok := arena.Conflict(p.lives(all)); ok {
		return fmt.Errorf("lower: %s and %s share memory", p.describe(all[i]), p.describe(all[j]))
	}
	return nil
}

// describe returns the name of a value in the arena for messages.
func (p *Program) describe(v *Value) string {
	if slices.Contains(p.scratch, v) {
		return "scratch"
	}
	return fmt.Sprintf("the output of operation %d (%s)", v.first, p.Operations[v.first].Name)
}
