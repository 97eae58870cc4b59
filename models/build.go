package models

import (
	"context"
	"fmt"

	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// Graph is an expression graph of one or more networks over the same batch of images.
// Parts that networks share from the input on (the meta layers before the target
// modules, paper section 3) are computed once.
type Graph struct {
	*graph.Builder
	Images    *graph.Node // [B, Channels, Image, Image], leaf "images"
	Targets   *graph.Node // [B, Classes], leaf "targets"
	Outputs   []Output    // one per network
	DropPaths []DropPath  // inputs to fill before every pass
	Loss      *graph.Node // the sum of the networks' losses; nil in evaluation
}

// Output is the output of one network.
type Output struct {
	Logits  *graph.Node // [B, Classes]; nil when imitating a module other than the last
	Loss    *graph.Node // scalar: mean over the batch; nil in evaluation
	Losses  *graph.Node // [B]: cross-entropy of each sample; only in evaluation
	Correct *graph.Node // [B]: 1 if the top prediction is right, else 0; only in evaluation
}

// DropPath is the input that scales one residual branch of each sample: 0
// with probability Rate, else 1/(1-Rate). Whether a sample drops a branch depends
// on the layer and the sample, not on the network that contains the layer, so that
// hybrid networks can share layers.
type DropPath struct {
	Node   *graph.Node // [B]
	Layer  Layer
	Branch int // 0: attention, 1: MLP
	Rate   float64
}

// BuildOptions are options for building a graph.
type BuildOptions struct {
	Batch       int
	DType       graph.DType
	DropPath    float64           // rate of the last layer; rises linearly from 0 (DeiT)
	Uniform     bool              // use DropPath as the rate of every layer (paper section 4.1, E2E for large models)
	Recompute   map[string]bool   // see graph.Builder
	Interpreter graph.Interpreter // see graph.Builder
}

// BuildTraining builds networks for training with the soft-target cross-entropy. The
// parameters of parts that are not frozen are trainable. Leaves are named by
// NetParam.Leaf. It returns the error of ctx if that is done first.
func BuildTraining(ctx context.Context, networks []Network, o BuildOptions) (*Graph, error) {
	return assemble(ctx, networks, o, func(c *construction) {
		var losses []*graph.Node
		for _, n := range networks {
			logits := c.head(n, c.blocks(n, c.stem(n), n.Blocks, 0, o.DropPath))
			loss := nn.CrossEntropy(c.Builder, logits, c.Targets)
			c.Outputs = append(c.Outputs, Output{Logits: logits, Loss: loss})
			losses = append(losses, loss)
		}
		c.Loss = nn.Total(c.Builder, losses...)
	})
}

// BuildEvaluation builds the forward pass of networks with the loss and the correctness of
// each sample. It returns the error of ctx if that is done first.
func BuildEvaluation(ctx context.Context, networks []Network, o BuildOptions) (*Graph, error) {
	return assemble(ctx, networks, o, func(c *construction) {
		for _, n := range networks {
			n = n.Eval()
			logits := c.head(n, c.blocks(n, c.stem(n), n.Blocks, 0, 0))
			losses, correct := nn.Evaluate(c.Builder, logits, c.Targets)
			c.Outputs = append(c.Outputs, Output{Logits: logits, Losses: losses, Correct: correct})
		}
	})
}

// BuildImitation builds Module Imitation (paper section 3, figure 2b) for the
// given modules, counted from 1: target module i gets the input of meta module i,
// and its loss is the L1 distance of its output from the meta module's.
// The output of module K is the logits, since the head belongs to it. Drop path
// applies to the target module alone, with the rates of its hybrid network; the
// meta model, which is the teacher, runs as in evaluation (our choice; the paper
// does not specify it).
func BuildImitation(ctx context.Context, d Division, modules []int, o BuildOptions) (*Graph, error) {
	var hybrids []Network
	for _, i := range modules {
		hybrids = append(hybrids, d.Hybrid(i))
	}
	return assemble(ctx, hybrids, o, func(c *construction) {
		teacher := d.MetaNet().Eval()
		var losses []*graph.Node
		for m, i := range modules {
			hybrid := hybrids[m]
			first := (i - 1) * d.MetaDepth // the meta module's first block
			input := c.blocks(teacher, c.stem(teacher), teacher.Blocks[:first], 0, 0)
			want := c.blocks(teacher, input, teacher.Blocks[first:first+d.MetaDepth], first, 0)
			if i == 1 {
				input = c.stem(hybrid)
			}
			got := c.blocks(hybrid, input, hybrid.Blocks[first:first+d.Split[i-1]], first, o.DropPath)
			var out Output
			if i == d.K() {
				want, got = c.head(teacher, want), c.head(hybrid, got)
				out.Logits = got
			}
			out.Loss = nn.L1(c.Builder, got, want)
			c.Outputs = append(c.Outputs, out)
			losses = append(losses, out.Loss)
		}
		c.Loss = nn.Total(c.Builder, losses...)
	})
}

// construction is the state of building a Graph.
type construction struct {
	*Graph
	BuildOptions
	ctx     context.Context
	patches *graph.Node
	memo    map[application]*graph.Node
}

// application is a part of a network applied to a node. Equal applications are the same
// computation.
type application struct {
	input *graph.Node
	part  Part
	block int     // or stemPart or headPart
	rate  float64 // of drop path
	last  bool    // block of its network
}

const (
	stemPart = -1
	headPart = -2
)

func assemble(ctx context.Context, networks []Network, o BuildOptions, build func(*construction)) (g *Graph, err error) {
	defer graph.Catch(&err)
	graph.Check(len(networks) > 0 && o.Batch > 0, "%d networks with batches of %d", len(networks), o.Batch)
	graph.Check(o.DropPath >= 0 && o.DropPath < 1, "the drop path rate is %v; it must be at least 0 and below 1", o.DropPath)
	b := graph.NewBuilder(o.DType)
	b.Recompute, b.Interpreter = o.Recompute, o.Interpreter
	v := networks[0].ViT
	g = &Graph{
		Builder: b,
		Images:  b.Input("images", o.Batch, v.Channels, v.Image, v.Image),
		Targets: b.Input("targets", o.Batch, v.Classes),
	}
	build(&construction{Graph: g, BuildOptions: o, ctx: ctx, patches: nn.Patches(b, g.Images, v.Patch), memo: map[application]*graph.Node{}})
	return g, nil
}

// once returns the node of a key. It calls build the first time only.
func (c *construction) once(key application, build func() *graph.Node) *graph.Node {
	n, ok := c.memo[key]
	if !ok {
		n = build()
		c.memo[key] = n
	}
	return n
}

// parameters returns the leaves of a part's parameters by timm's name. It creates them at
// their first use.
func (c *construction) parameters(part Part, params []Param) map[string]*graph.Node {
	leaves := map[string]*graph.Node{}
	for _, p := range params {
		name := NetParam{p, part}.Leaf()
		leaf := c.Leaf(name)
		if leaf == nil {
			shape := p.Shape
			if len(shape) == 4 { // the patch embedding's filters as a matrix
				shape = []int{shape[0], shape[1] * shape[2] * shape[3]}
			}
			if part.Frozen {
				leaf = c.Input(name, shape...)
			} else {
				leaf = c.Param(name, shape...)
			}
		}
		leaves[p.Name] = leaf
	}
	return leaves
}

// stem applies the patch embedding, the class token and the position embedding.
func (c *construction) stem(n Network) *graph.Node {
	return c.once(application{input: c.patches, part: n.Stem, block: stemPart}, func() *graph.Node {
		p := c.parameters(n.Stem, n.stemParams())
		x := nn.Linear(c.Builder, c.patches, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"])
		return nn.Tokens(c.Builder, x, p["cls_token"], p["pos_embed"])
	})
}

// head applies the final norm and the classifier to class tokens [B, Width].
func (c *construction) head(n Network, x *graph.Node) *graph.Node {
	return c.once(application{input: x, part: n.Head, block: headPart}, func() *graph.Node {
		p := c.parameters(n.Head, n.headParams())
		y := nn.LayerNorm(c.Builder, x, p["norm.weight"], p["norm.bias"], n.NormEps)
		return nn.Linear(c.Builder, y, p["head.weight"], p["head.bias"])
	})
}

// blocks applies a run of n's blocks, of which the first has index first in n.Blocks.
// dropPath is the rate of n's last block. The result is all tokens [B, Tokens, Width], or
// after n's last block the class tokens [B, Width].
func (c *construction) blocks(n Network, x *graph.Node, run []Layer, first int, dropPath float64) *graph.Node {
	for i, l := range run {
		graph.CheckContext(c.ctx)
		rate := dropPath
		if !c.Uniform {
			// If there is only one layer, its rate is 0, as with torch.linspace.
			rate = rate * float64(first+i) / float64(max(1, n.Depth-1))
		}
		last := first+i == len(n.Blocks)-1
		x = c.once(application{x, l.Part, l.Block, rate, last}, func() *graph.Node { return c.block(n, x, l, rate, last) })
	}
	return x
}

// block applies a pre-norm transformer block (timm's Block). The head reads only the class
// token, so the last block computes no other token after its attention.
func (c *construction) block(n Network, x *graph.Node, l Layer, rate float64, last bool) *graph.Node {
	b := c.Builder
	prefix := fmt.Sprintf("blocks.%d.", l.Block)
	p := c.parameters(l.Part, n.blockParams(l.Block))
	linear := func(x *graph.Node, name string) *graph.Node {
		return nn.Linear(b, x, p[prefix+name+".weight"], p[prefix+name+".bias"])
	}
	norm := func(x *graph.Node, name string) *graph.Node {
		return nn.LayerNorm(b, x, p[prefix+name+".weight"], p[prefix+name+".bias"], n.NormEps)
	}
	y := nn.Attention(b, linear(norm(x, "norm1"), "attn.qkv"), n.Heads)
	if last {
		x, y = nn.TakeClassToken(b, x), nn.TakeClassToken(b, y)
	}
	x = nn.Residual(b, x, linear(y, "attn.proj"), c.dropPath(l, 0, rate))
	y = linear(nn.GELU(b, linear(norm(x, "norm2"), "mlp.fc1")), "mlp.fc2")
	return nn.Residual(b, x, y, c.dropPath(l, 1, rate))
}

// dropPath returns the drop-path input of a branch, or nil if its rate is 0.
func (c *construction) dropPath(l Layer, branch int, rate float64) *graph.Node {
	if rate == 0 {
		return nil
	}
	name := fmt.Sprintf("drop_path/%s/blocks.%d/%d/%g", l.Owner, l.Block, branch, rate)
	leaf := c.Leaf(name)
	if leaf == nil {
		leaf = c.Input(name, c.Batch)
		c.DropPaths = append(c.DropPaths, DropPath{leaf, l, branch, rate})
	}
	return leaf
}
