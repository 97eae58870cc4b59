package models

import (
	"fmt"
	"math"

	"hatchery/engine/random"
)

// Param is a parameter of a model.
type Param struct {
	Name  string // timm's, such as "blocks.3.attn.qkv.weight"
	Shape []int  // timm's
	Decay bool   // whether weight decay applies: DeiT spares 1-D tensors, pos_embed and cls_token
	Init  Init
}

// Size is the number of its elements.
func (p Param) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Init is the distribution of a parameter's first values.
type Init struct {
	Kind  InitKind
	Scale float64
}

// InitKind says what Init.Scale means.
type InitKind uint8

const (
	Constant InitKind = iota // every element is Scale
	Normal                   // mean 0, standard deviation Scale
	Uniform                  // between -Scale and Scale
)

var (
	zeros = Init{Constant, 0}
	ones  = Init{Constant, 1}
	// DeiT's trunc_normal_(std=.02). timm cuts at an absolute +-2, which is
	// 100 standard deviations away, so nothing is ever cut.
	normal02 = Init{Normal, 0.02}
)

// Params lists the model's parameters in timm's order, with DeiT's
// initialisation.
func (v ViT) Params() []Param {
	ps := v.stemParams()
	for b := range v.Depth {
		ps = append(ps, v.blockParams(b)...)
	}
	return append(ps, v.headParams()...)
}

func (v ViT) stemParams() []Param {
	d := v.Width
	// DeiT leaves the patch embedding as torch's Conv2d makes it:
	// kaiming_uniform_(a=sqrt(5)), which is U(+-1/sqrt(fan_in)) for both.
	fanIn := v.Channels * v.Patch * v.Patch
	conv := Init{Uniform, 1 / math.Sqrt(float64(fanIn))}
	return []Param{
		{Name: "cls_token", Shape: []int{1, 1, d}, Init: normal02},
		{Name: "pos_embed", Shape: []int{1, v.Tokens(), d}, Init: normal02},
		{Name: "patch_embed.proj.weight", Shape: []int{d, v.Channels, v.Patch, v.Patch}, Decay: true, Init: conv},
		{Name: "patch_embed.proj.bias", Shape: []int{d}, Init: conv},
	}
}

func (v ViT) blockParams(block int) []Param {
	at := fmt.Sprintf("blocks.%d.", block)
	var ps []Param
	ps = append(ps, normParams(at+"norm1", v.Width)...)
	qkv := linearParams(at+"attn.qkv", v.Width, 3*v.Width)
	if !v.QKVBias {
		qkv = qkv[:1]
	}
	ps = append(ps, qkv...)
	ps = append(ps, linearParams(at+"attn.proj", v.Width, v.Width)...)
	ps = append(ps, normParams(at+"norm2", v.Width)...)
	ps = append(ps, linearParams(at+"mlp.fc1", v.Width, v.Hidden())...)
	return append(ps, linearParams(at+"mlp.fc2", v.Hidden(), v.Width)...)
}

func (v ViT) headParams() []Param {
	return append(normParams("norm", v.Width), linearParams("head", v.Width, v.Classes)...)
}

func normParams(name string, width int) []Param {
	return []Param{
		{Name: name + ".weight", Shape: []int{width}, Init: ones},
		{Name: name + ".bias", Shape: []int{width}, Init: zeros},
	}
}

func linearParams(name string, in, out int) []Param {
	return []Param{
		{Name: name + ".weight", Shape: []int{out, in}, Decay: true, Init: normal02},
		{Name: name + ".bias", Shape: []int{out}, Init: zeros},
	}
}

// NetParam is a parameter of a network.
type NetParam struct {
	Param
	Part
}

// Leaf is the parameter's name where both models' parameters meet:
// "target/blocks.3.norm1.weight".
func (p NetParam) Leaf() string { return string(p.Owner) + "/" + p.Name }

// Params lists the network's parameters from the input to the output.
func (n Network) Params() []NetParam {
	var all []NetParam
	add := func(part Part, ps []Param) {
		for _, p := range ps {
			all = append(all, NetParam{p, part})
		}
	}
	add(n.Stem, n.stemParams())
	for _, l := range n.Blocks {
		add(l.Part, n.blockParams(l.Block))
	}
	add(n.Head, n.headParams())
	return all
}

// Initialize makes the first values of a parameter. They depend on nothing
// but the seed, the owner and the name, so that a target module starts the
// same whatever stage or network it is built for.
func Initialize(p Param, seed uint64, owner Owner) []float32 {
	w := make([]float32, p.Size())
	s := random.New(seed, "init "+string(owner)+"/"+p.Name)
	for i := range w {
		switch p.Init.Kind {
		case Constant:
			w[i] = float32(p.Init.Scale)
		case Normal:
			w[i] = float32(p.Init.Scale * s.NormFloat64())
		case Uniform:
			w[i] = float32(p.Init.Scale * (2*s.Float64() - 1))
		}
	}
	return w
}
