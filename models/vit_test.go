package models

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, v := range []ViT{deitTiny(32), vitB(224), vitB(384), vitL(384), vitH(224), vitH(392), vitBDN(224)} {
		if err := v.Validate(); err != nil {
			t.Errorf("%+v: %v", v, err)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(*ViT)
		want  string // a prefix of the message
	}{
		{"patch", func(v *ViT) { v.Patch = 5 }, "patch: 5 pixels do not divide the image's 32; use one of 1, 2, 4, 8, 16, 32"},
		{"heads", func(v *ViT) { v.Heads = 5 }, "heads: 5 heads do not divide the width 192; use one of 1, 2, 3, 4, 6, 8, 12, 16, 24"},
		{"no patch", func(v *ViT) { v.Patch = 0 }, "patch: must be at least 1, is 0"},
		{"no heads", func(v *ViT) { v.Heads = 0 }, "heads: must be at least 1, is 0"},
		{"depth", func(v *ViT) { v.Depth = -1 }, "depth: must be at least 1, is -1"},
		{"ratio", func(v *ViT) { v.MLPRatio = 0.001 }, "mlp_ratio: "},
		{"NaN", func(v *ViT) { v.MLPRatio = math.NaN() }, "mlp_ratio: "},
		{"Inf", func(v *ViT) { v.MLPRatio = math.Inf(1) }, "mlp_ratio: "},
		{"eps", func(v *ViT) { v.NormEps = 0 }, "norm_eps: must be above 0, is 0"},
		{"NaN eps", func(v *ViT) { v.NormEps = math.NaN() }, "norm_eps: "},
		{"classes", func(v *ViT) { v.Classes = 0 }, "classes: must be at least 1, is 0"},
	} {
		v := deitTiny(4)
		c.spoil(&v)
		err := v.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
		var inv *Invalid
		if !errors.As(err, &inv) || !strings.HasPrefix(c.want, inv.Key+": ") {
			t.Errorf("%s: got %#v", c.name, inv)
		}
	}

	// All problems are reported at once.
	err := ViT{}.Validate()
	for _, key := range []string{"image", "channels", "patch", "width", "depth", "heads", "norm_eps", "classes"} {
		if !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%q says nothing of %s", err, key)
		}
	}
}

func TestShape(t *testing.T) {
	v := vitB(384)
	if v.Patches() != 576 || v.Tokens() != 577 || v.HeadDim() != 64 || v.Hidden() != 3072 {
		t.Errorf("patches %d, tokens %d, head %d, hidden %d", v.Patches(), v.Tokens(), v.HeadDim(), v.Hidden())
	}
	v.MLPRatio, v.Width = 2.7, 10
	if v.Hidden() != 27 {
		t.Errorf("hidden %d, want 27", v.Hidden())
	}
}
