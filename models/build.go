package models

import (
	"fmt"

	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// Graph builds networks of one shape into one expression graph. What two of
// them share is built once: the leaf of a parameter, and the frozen beginning
// that hybrid networks have in common. So
//
//	g, err := models.NewGraph(b, d.Target, batch)
//	for i := 1; i <= d.K(); i++ {
//		loss, err := g.Loss(d.Hybrid(i), 0.1)
//		...
//	}
//
// incubates all modules together. The leaves are "images", "targets", the
// parameters under [NetParam.Leaf], in the shapes of [Param] but for the patch
// embedding's weight, which is [Width, Channels·Patch²] with the same elements
// in the same order, and the drop path factors, see [Drop]. A parameter that
// is frozen is an input of the graph; only the others are its Params.
type Graph struct {
	Images  *graph.Node // [batch, Channels, Image, Image]
	Targets *graph.Node // [batch, Classes], each row adds up to 1
	Drops   []Drop      // to be filled before every training step

	b       *graph.Builder
	v       ViT
	patches *graph.Node
	frozen  map[string]bool // by the name of a parameter's leaf
	stems   map[Part]*graph.Node
	blocks  map[application]*graph.Node
}

// application is a block applied to features. Blocks are told apart by the
// drop path rate too: in hybrids of different depths it differs.
type application struct {
	x    *graph.Node
	l    Layer
	rate float64
}

// Drop is the input with the drop path factors of one branch of one block
// (timm's drop_path): for each sample 0 with probability Rate and 1/(1-Rate)
// otherwise. Who fills it must draw by Owner, Block and Branch and nothing
// else of the network, so that a block drops the same samples in whatever
// stage and in however many hybrids at once it is trained.
type Drop struct {
	Node   *graph.Node // [batch]
	Owner  Owner
	Block  int // in the numbering of its owner
	Branch int // 0: attention, 1: MLP
	Rate   float64
}

// NewGraph prepares b for networks that have the shape v, whatever their
// depth, on batches of a given size.
func NewGraph(b *graph.Builder, v ViT, batch int) (g *Graph, err error) {
	defer graph.Catch(&err)
	if err := v.Validate(); err != nil {
		return nil, fmt.Errorf("models: build: %w", err)
	}
	g = &Graph{
		Images:  b.Input("images", batch, v.Channels, v.Image, v.Image),
		Targets: b.Input("targets", batch, v.Classes),
		b:       b, v: v,
		frozen: map[string]bool{}, stems: map[Part]*graph.Node{}, blocks: map[application]*graph.Node{},
	}
	g.patches = nn.Patches(b, g.Images, v.Patch)
	return g, nil
}

// Logits adds a network and returns its logits [batch, Classes]. The drop path
// rate rises linearly over the network's blocks from 0 to dropPath, as in
// DeiT; for evaluation dropPath is 0. A parameter cannot be frozen in one
// network and trained in another of the same graph.
func (g *Graph) Logits(n Network, dropPath float64) (logits *graph.Node, err error) {
	defer graph.Catch(&err)
	return g.head(g.features(n, len(n.Blocks), dropPath), n.Head), nil
}

// Loss is the soft-target cross-entropy of a network's logits, a scalar.
func (g *Graph) Loss(n Network, dropPath float64) (loss *graph.Node, err error) {
	defer graph.Catch(&err)
	logits, err := g.Logits(n, dropPath)
	if err != nil {
		return nil, err
	}
	return nn.CrossEntropy(g.b, logits, g.Targets), nil
}

// Evaluate adds a network with all its parts frozen and without drop path. It
// returns the cross-entropy of each sample [batch], and 1 or 0 as its class is
// right or wrong [batch].
func (g *Graph) Evaluate(n Network) (loss, correct *graph.Node, err error) {
	defer graph.Catch(&err)
	logits, err := g.Logits(n.Eval(), 0)
	if err != nil {
		return nil, nil, err
	}
	loss, correct = nn.Evaluate(g.b, logits, g.Targets)
	return loss, correct, nil
}

// Imitate is the loss of Module Imitation (paper section 3, "Dilemma I"), a
// scalar: the target's module i gets what the meta model's module i gets, and
// the loss is the L1 distance, averaged over all elements, of their outputs.
//
// Our choices, where the paper says nothing: module K is compared after norm
// and head, by its logits, because they would not train otherwise; the meta
// model, being what is imitated, never drops paths, while the target's blocks
// drop as in hybrid network i.
func (g *Graph) Imitate(d Division, i int, dropPath float64) (loss *graph.Node, err error) {
	defer graph.Catch(&err)
	meta, hybrid := d.MetaNet().Eval(), d.Hybrid(i)
	from, to := (i-1)*d.MetaDepth, i*d.MetaDepth
	want := g.features(meta, to, 0)

	var x *graph.Node
	if i == 1 {
		x = g.stem(hybrid.Stem)
	} else {
		x = g.features(meta, from, 0)
	}
	for at := from; at < from+d.Split[i-1]; at++ {
		x = g.block(x, hybrid.Blocks[at], rate(dropPath, at, hybrid.Depth))
	}
	if i == d.K() {
		x, want = g.head(x, hybrid.Head), g.head(want, meta.Head)
	}
	return nn.L1(g.b, x, want), nil
}

// rate is the drop path rate of block i of a network: torch.linspace(0,
// dropPath, depth)[i].
func rate(dropPath float64, i, depth int) float64 {
	graph.Check(dropPath >= 0 && dropPath < 1, "the drop path rate is %v; it must be at least 0 and below 1", dropPath)
	if depth == 1 {
		return 0
	}
	return dropPath * float64(i) / float64(depth-1)
}

// features returns what a network's stem and its first blocks give:
// [batch, Tokens, Width].
func (g *Graph) features(n Network, blocks int, dropPath float64) *graph.Node {
	same := n.ViT
	same.Depth = g.v.Depth
	graph.Check(same == g.v, "a network of the shape %+v in a graph for %+v", n.ViT, g.v)
	x := g.stem(n.Stem)
	for i, l := range n.Blocks[:blocks] {
		x = g.block(x, l, rate(dropPath, i, len(n.Blocks)))
	}
	return x
}

func (g *Graph) stem(part Part) *graph.Node {
	if x, ok := g.stems[part]; ok {
		return x
	}
	p := g.leaves(part, g.v.stemParams())
	x := g.linear(g.patches, p, "patch_embed.proj")
	x = nn.Tokens(g.b, x, p["cls_token"], p["pos_embed"])
	g.stems[part] = x
	return x
}

// block is timm's Block: two branches with the norm before them.
func (g *Graph) block(x *graph.Node, l Layer, rate float64) *graph.Node {
	key := application{x, l, rate}
	if y, ok := g.blocks[key]; ok {
		return y
	}
	p := g.leaves(l.Part, g.v.blockParams(l.Block))
	at := fmt.Sprintf("blocks.%d.", l.Block)

	y := g.norm(x, p, at+"norm1")
	y = g.linear(y, p, at+"attn.qkv")
	y = nn.Attention(g.b, y, g.v.Heads)
	y = g.linear(y, p, at+"attn.proj")
	x = nn.Residual(g.b, x, y, g.drop(l, 0, rate))

	y = g.norm(x, p, at+"norm2")
	y = g.linear(y, p, at+"mlp.fc1")
	y = nn.GELU(g.b, y)
	y = g.linear(y, p, at+"mlp.fc2")
	x = nn.Residual(g.b, x, y, g.drop(l, 1, rate))

	g.blocks[key] = x
	return x
}

// head normalises the class token alone: nothing looks at the others' norm.
func (g *Graph) head(x *graph.Node, part Part) *graph.Node {
	p := g.leaves(part, g.v.headParams())
	return g.linear(g.norm(nn.TakeClassToken(g.b, x), p, "norm"), p, "head")
}

// linear has no bias where p has none.
func (g *Graph) linear(x *graph.Node, p map[string]*graph.Node, name string) *graph.Node {
	return nn.Linear(g.b, x, p[name+".weight"], p[name+".bias"])
}

func (g *Graph) norm(x *graph.Node, p map[string]*graph.Node, name string) *graph.Node {
	return nn.LayerNorm(g.b, x, p[name+".weight"], p[name+".bias"], g.v.NormEps)
}

// leaves returns the leaves of a part's parameters by their timm names.
func (g *Graph) leaves(part Part, ps []Param) map[string]*graph.Node {
	nodes := make(map[string]*graph.Node, len(ps))
	for _, p := range ps {
		leaf := NetParam{p, part}.Leaf()
		n := g.b.Leaf(leaf)
		if n != nil {
			graph.Check(g.frozen[leaf] == part.Frozen, "%s is frozen in one network and trained in another", leaf)
			nodes[p.Name] = n
			continue
		}
		shape := p.Shape
		if len(shape) == 4 { // a convolution whose patches do not overlap
			shape = []int{shape[0], p.Size() / shape[0]}
		}
		if part.Frozen {
			n = g.b.Input(leaf, shape...)
		} else {
			n = g.b.Param(leaf, shape...)
		}
		g.frozen[leaf] = part.Frozen
		nodes[p.Name] = n
	}
	return nodes
}

// drop returns the drop path factors of a branch, nil where nothing drops.
func (g *Graph) drop(l Layer, branch int, rate float64) *graph.Node {
	if rate == 0 {
		return nil
	}
	name := fmt.Sprintf("drop/%s/blocks.%d/%d/%v", l.Owner, l.Block, branch, rate)
	n := g.b.Leaf(name)
	if n == nil {
		n = g.b.Input(name, g.Images.Shape()[0])
		g.Drops = append(g.Drops, Drop{n, l.Owner, l.Block, branch, rate})
	}
	return n
}
