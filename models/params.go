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
	Decay bool   // whether weight decay applies: DeiT excludes 1-D tensors, pos_embed and cls_token
	Init  Init
}

// Size returns the number of elements.
func (p Param) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Init is the distribution of a parameter's initial values.
type Init struct {
	Kind  InitKind
	Scale float64
}

// InitKind is a kind of distribution. It determines the meaning of Init.Scale.
type InitKind uint8

const (
	Constant InitKind = iota // every element is Scale
	Normal                   // mean 0, standard deviation Scale
	Uniform                  // between -Scale and Scale
)

var (
	zeros = Init{Constant, 0}
	ones  = Init{Constant, 1}
	// DeiT's trunc_normal_(std=.02). timm truncates at +-2, which is 100 standard
	// deviations away, so it never happens.
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
	// DeiT keeps the initialisation of torch's Conv2d for the patch embedding:
	// kaiming_uniform_(a=sqrt(5)), which is U(+-1/sqrt(fan_in)) for weight and bias.
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
	prefix := fmt.Sprintf("blocks.%d.", block)
	var ps []Param
	ps = append(ps, normParams(prefix+"norm1", v.Width)...)
	qkv := linearParams(prefix+"attn.qkv", v.Width, 3*v.Width)
	if !v.QKVBias {
		qkv = qkv[:1]
	}
	ps = append(ps, qkv...)
	ps = append(ps, linearParams(prefix+"attn.proj", v.Width, v.Width)...)
	ps = append(ps, normParams(prefix+"norm2", v.Width)...)
	ps = append(ps, linearParams(prefix+"mlp.fc1", v.Width, v.Hidden())...)
	return append(ps, linearParams(prefix+"mlp.fc2", v.Hidden(), v.Width)...)
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

// Leaf returns a name that is unique among the parameters of both models:
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

// Initialize returns the initial values of a parameter. They depend only on the parameter,
// the seed and the owner, so that a target module starts with the same values in every
// stage and network.
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
