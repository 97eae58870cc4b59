package models

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestNewDivision(t *testing.T) {
	for _, c := range []struct {
		depth, k int
		split    []int
		meta     int
		want     string // the depths, or the error
	}{
		{12, 4, nil, 1, "[3 3 3 3]"},
		{12, 1, nil, 2, "[12]"},
		{12, 12, nil, 1, "[1 1 1 1 1 1 1 1 1 1 1 1]"},
		{12, 3, []int{2, 2, 8}, 1, "[2 2 8]"},
		{12, 5, nil, 1, "k: 12 blocks do not divide evenly into 5 modules; use k = 1, 2, 3, 4, 6, 12, or give the depths: split = [3, 3, 2, 2, 2]"},
		{12, 0, nil, 1, "k: must be at least 1 module, is 0"},
		{12, 20, nil, 1, "k: 20 modules need at least 20 blocks, the model has depth 12"},
		{12, 4, []int{6, 6}, 1, "split: has 2 depths for k = 4 modules; give one depth a module, such as [3, 3, 3, 3]"},
		{12, 2, []int{6, 7}, 1, "split: the depths [6, 7] add up to 13, not to the model's depth 12"},
		{12, 3, []int{13, 0, -1}, 1, "split: module 2 has depth 0; every module needs at least 1 block"},
		{12, 4, nil, 0, "meta_depth: must be at least 1 block a module, is 0"},
		{12, 5, nil, 0, "k: 12 blocks do not divide evenly into 5 modules; use k = 1, 2, 3, 4, 6, 12, or give the depths: split = [3, 3, 2, 2, 2]\n" +
			"meta_depth: must be at least 1 block a module, is 0"},
	} {
		d, err := NewDivision(deitTiny(c.depth), c.k, c.split, c.meta)
		got := fmt.Sprint(d.Split)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("depth %d, k %d, split %v, meta depth %d:\n got %s\nwant %s", c.depth, c.k, c.split, c.meta, got, c.want)
		}
	}
}

// outline writes a network as one word per part: m for a meta part, T for a target part,
// with ! if it is trained.
func outline(n Network) string {
	part := func(p Part, what string) string {
		s := map[Owner]string{Meta: "m", Target: "T"}[p.Owner] + what
		if !p.Frozen {
			s += "!"
		}
		return s
	}
	words := []string{part(n.Stem, "stem")}
	for _, l := range n.Blocks {
		words = append(words, part(l.Part, fmt.Sprint(l.Block)))
	}
	return strings.Join(append(words, part(n.Head, "head")), " ")
}

func TestNetworks(t *testing.T) {
	three, err := NewDivision(deitTiny(6), 3, []int{1, 2, 3}, 1)
	if err != nil {
		t.Fatal(err)
	}
	deep, err := NewDivision(deitTiny(4), 2, nil, 2)
	if err != nil {
		t.Fatal(err)
	}
	one, err := NewDivision(deitTiny(2), 1, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		n    Network
		want string
	}{
		{"target", three.TargetNet(), "Tstem! T0! T1! T2! T3! T4! T5! Thead!"},
		{"meta", three.MetaNet(), "mstem! m0! m1! m2! mhead!"},
		{"hybrid 1", three.Hybrid(1), "Tstem! T0! m1 m2 mhead"},
		{"hybrid 2", three.Hybrid(2), "mstem m0 T1! T2! m2 mhead"},
		{"hybrid 3", three.Hybrid(3), "mstem m0 m1 T3! T4! T5! Thead!"},
		{"meta depth 2, hybrid 1", deep.Hybrid(1), "Tstem! T0! T1! m2 m3 mhead"},
		{"meta depth 2, hybrid 2", deep.Hybrid(2), "mstem m0 m1 T2! T3! Thead!"},
		{"one module", one.Hybrid(1), "Tstem! T0! T1! Thead!"},
		{"evaluated", three.Hybrid(2).Eval(), "mstem m0 T1 T2 m2 mhead"},
	} {
		if got := outline(c.n); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if c.n.Depth != len(c.n.Blocks) {
			t.Errorf("%s: depth %d, %d blocks", c.name, c.n.Depth, len(c.n.Blocks))
		}
	}
	if n := three.TargetNet(); n.Eval().Blocks[0].Frozen == n.Blocks[0].Frozen {
		t.Error("Eval froze the network it was made from")
	}
}

// Assembling is the union of the modules: every parameter of the target once.
func TestModulesMakeTheTarget(t *testing.T) {
	for _, meta := range []int{1, 3} {
		d, err := NewDivision(deitTiny(7), 3, []int{2, 4, 1}, meta)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for i := 1; i <= d.K(); i++ {
			for _, p := range d.Hybrid(i).Params() {
				if p.Owner == Target {
					got = append(got, p.Name)
				}
			}
		}
		for _, p := range d.Target.Params() {
			want = append(want, p.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("meta depth %d:\n got %v\nwant %v", meta, got, want)
		}
	}
}
