package models

import (
	"fmt"
	"testing"
)

// TestCostIsThePapers compares with the paper's Tables 1, 2 and 4 to the last printed
// digit. The paper counts parameters for 1000 classes everywhere. It prints 191.1 G for ViT-L at
// 384 pixels, where counting the same way as everywhere else gives 191.2.
func TestCostIsThePapers(t *testing.T) {
	thousand := func(v ViT) ViT { v.Classes = 1000; return v }
	for _, c := range []struct {
		name          string
		v             ViT
		macs          string // 10^9
		format, param string // 10^6; empty where the paper has none
	}{
		{"ViT-B 224", vitB(224), "17.6", "%.0f", "87"},
		{"ViT-B 384", vitB(384), "55.5", "", ""},
		{"ViT-L 224", vitL(224), "61.6", "%.0f", "304"},
		{"ViT-L 384", vitL(384), "191.2", "", ""},
		{"ViT-H 224", vitH(224), "167.4", "%.0f", "632"},
		{"ViT-H 392", vitH(392), "545.3", "", ""},
		{"ViT-B-DN", vitBDN(224), "17.7", "%.0f", "85"},
		{"DeiT-T-32", thousand(deitTiny(32)), "1.0", "%.1f", "14.5"},
		{"DeiT-T-128", thousand(deitTiny(128)), "3.9", "%.1f", "57.2"},
	} {
		d, err := NewDivision(c.v, 4, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		cost := d.TargetNet().Cost()
		if got := fmt.Sprintf("%.1f", float64(cost.Forward)/1e9); got != c.macs {
			t.Errorf("%s: %s G MACs, the paper has %s", c.name, got, c.macs)
		}
		if c.param == "" {
			continue
		}
		if got := fmt.Sprintf(c.format, float64(cost.Params)/1e6); got != c.param {
			t.Errorf("%s: %s M parameters, the paper has %s", c.name, got, c.param)
		}
	}
	// CIFAR-100's own head.
	d, _ := NewDivision(deitTiny(32), 4, nil, 1)
	if got := d.TargetNet().Cost().Params; got != 14_277_412 {
		t.Errorf("DeiT-T-32 with 100 classes has %d parameters, want 14277412", got)
	}
}

// TestCostByHand uses sizes small enough to add up by hand: 2x2 images of one channel in 1x1
// patches, so 5 tokens of width 2, and an MLP of hidden width 4.
func TestCostByHand(t *testing.T) {
	v := ViT{Image: 2, Channels: 1, Patch: 1, Width: 2, Depth: 2, Heads: 1,
		MLPRatio: 2, QKVBias: true, NormEps: 1e-6, Classes: 3}
	d, err := NewDivision(v, 2, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	const (
		stem  = 4 * 2 * 1
		norm  = 5 * 5 * 2
		lin   = 5 * (2*6 + 2*2 + 2*4 + 4*2)
		att   = 2 * 5 * 5 * 2
		head  = 2 * 3
		block = 2*norm + lin + att
		total = stem + 2*block + norm + head

		paramStem  = 2 + 5*2 + 2 + 2
		paramBlock = 2*4 + (2*6 + 6) + (2*2 + 2) + (2*4 + 4) + (4*2 + 2)
		paramHead  = 4 + 2*3 + 3
		params     = paramStem + 2*paramBlock + paramHead
	)
	for _, c := range []struct {
		name string
		n    Network
		want Cost
	}{
		// Everything three times, except for the gradient of the image.
		{"target", d.TargetNet(), Cost{total, 3*total - stem, params, params}},
		// The stem and block 0 as in the target; after them only gradients of inputs.
		{"hybrid 1", d.Hybrid(1), Cost{total, 2*stem + 3*block + 2*(2*norm+lin) + 3*att + 2*(norm+head),
			params, paramStem + paramBlock}},
		// Nothing before the target, nor for its own first input.
		{"hybrid 2", d.Hybrid(2), Cost{total, stem + block + 3*block - norm + 3*(norm+head),
			params, paramBlock + paramHead}},
		{"evaluation", d.TargetNet().Eval(), Cost{total, total, params, 0}},
	} {
		if got := c.n.Cost(); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}
