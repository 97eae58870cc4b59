package models

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

func TestResizePosEmbedEqualsTorch(t *testing.T) {
	text, err := os.ReadFile("testdata/posembed.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Width, From, To int
		In, Out         []float32
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 5 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		v := ViT{Image: c.To * 16, Patch: 16, Width: c.Width}
		got, err := v.ResizePosEmbed(c.In)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(c.Out) {
			t.Fatalf("%d to %d: %d elements, torch has %d", c.From, c.To, len(got), len(c.Out))
		}
		for i := range got {
			if d := math.Abs(float64(got[i] - c.Out[i])); !(d <= 1e-6) {
				t.Fatalf("%d to %d: element %d is %v, torch's %v", c.From, c.To, i, got[i], c.Out[i])
			}
		}
	}
}

func TestResizePosEmbedRefuses(t *testing.T) {
	v := ViT{Image: 32, Patch: 16, Width: 3}
	same := make([]float32, 5*3)
	if got, err := v.ResizePosEmbed(same); err != nil || &got[0] != &same[0] {
		t.Errorf("its own size is not left alone: %v", err)
	}
	for _, n := range []int{0, 3, 7, 4 * 3, 5*3 + 1} { // of 5 tokens and width 3
		if _, err := v.ResizePosEmbed(make([]float32, n)); err == nil {
			t.Errorf("%d elements are taken for a grid", n)
		}
	}
}
