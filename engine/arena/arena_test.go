package arena

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// firstFit does what Place does, without trees.
func firstFit(values []Value, align int64) (size int64) {
	order := make([]*Value, len(values))
	for i := range values {
		order[i] = &values[i]
	}
	slices.SortStableFunc(order, func(a, b *Value) int { return cmp.Compare(b.Size, a.Size) })
	var placed []*Value
	for _, v := range order {
		v.Offset = 0
		for {
			i := slices.IndexFunc(placed, func(o *Value) bool { return together(*o, *v) && overlap(*o, *v) })
			if i < 0 {
				break
			}
			v.Offset = (placed[i].Offset + placed[i].Size + align - 1) / align * align
		}
		placed = append(placed, v)
		size = max(size, v.Offset+v.Size)
	}
	return size
}

func together(a, b Value) bool { return a.First <= b.Last && b.First <= a.Last }

func overlap(a, b Value) bool { return a.Offset < b.Offset+b.Size && b.Offset < a.Offset+a.Size }

// network returns the values of a training step: for each layer, some that the backward
// pass reads and some that only the next steps read.
func network(r *rand.Rand, layers int) []Value {
	var all []Value
	steps := 8 * layers
	for i := range layers {
		for range 3 {
			first := 2*i + r.IntN(2)
			all = append(all, Value{First: first, Last: steps - first, Size: int64(1 + r.IntN(40))})
		}
		for _, first := range []int{2 * i, steps - 2*i} {
			all = append(all, Value{First: first, Last: first + r.IntN(4), Size: int64(1 + r.IntN(80))})
		}
	}
	return all
}

func TestPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		values := network(r, 1+r.IntN(100))
		for range r.IntN(100) {
			first := r.IntN(300)
			values = append(values, Value{First: first, Last: first + r.IntN(300), Size: int64(1 + r.IntN(100))})
		}
		align := int64(1 + r.IntN(16))
		want := slices.Clone(values)
		size, wantSize := Place(values, align), firstFit(want, align)
		if size != wantSize || !slices.Equal(values, want) {
			t.Fatalf("%d values in %d, want %d", len(values), size, wantSize)
		}
		if i, j, ok := Conflict(values); ok {
			t.Fatalf("%+v and %+v share memory", values[i], values[j])
		}
	}
}

// TestConflict moves one value at a time and compares with a check of all pairs.
func TestConflict(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	found := 0
	for range 300 {
		values := network(r, 1+r.IntN(20))
		Place(values, 4)
		v := &values[r.IntN(len(values))]
		v.Offset, v.Size = max(0, v.Offset+int64(r.IntN(41)-20)), int64(r.IntN(30))
		want := false
		for i, a := range values {
			for _, b := range values[:i] {
				want = want || a.Size > 0 && b.Size > 0 && together(a, b) && overlap(a, b)
			}
		}
		i, j, ok := Conflict(values)
		if ok != want {
			t.Fatalf("found %v, want %v, in %+v", ok, want, values)
		}
		if ok {
			found++
			if a, b := values[i], values[j]; i == j || !together(a, b) || !overlap(a, b) {
				t.Fatalf("%+v and %+v do not share memory", a, b)
			}
		}
	}
	if found < 50 || found > 250 {
		t.Errorf("%d of 300 cases share memory: the test shows little", found)
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, layers := range []int{1 << 10, 1 << 12} {
		b.Run(fmt.Sprint(layers), func(b *testing.B) {
			values := network(rand.New(rand.NewPCG(1, 2)), layers)
			for b.Loop() {
				Place(values, 16)
				Conflict(values)
			}
		})
	}
}
