package models

import (
	"errors"
	"fmt"
)

// EvenSplit divides depth blocks into k modules of the same depth. Where that
// cannot be, the error (an *[Invalid]) says which k would do and which list
// of depths comes near.
func EvenSplit(depth, k int) ([]int, error) {
	if err := checkK(depth, k); err != nil {
		return nil, err
	}
	if depth%k != 0 {
		return nil, invalid("k", "%d blocks do not divide evenly into %d modules; use k = %s, or give the depths: split = [%s]",
			depth, k, list(divisors(depth)), list(nearlyEven(depth, k)))
	}
	return nearlyEven(depth, k), nil
}

// CheckSplit says whether split divides depth blocks into k modules. Its
// errors are *[Invalid].
func CheckSplit(depth, k int, split []int) error {
	if err := checkK(depth, k); err != nil {
		return err
	}
	if len(split) != k {
		return invalid("split", "has %d depths for k = %d modules; give one depth a module, such as [%s]",
			len(split), k, list(nearlyEven(depth, k)))
	}
	sum := 0
	for i, n := range split {
		if n < 1 {
			return invalid("split", "module %d has depth %d; every module needs at least 1 block", i+1, n)
		}
		sum += n
	}
	if sum != depth {
		return invalid("split", "the depths [%s] add up to %d, not to the model's depth %d", list(split), sum, depth)
	}
	return nil
}

func checkK(depth, k int) error {
	if k < 1 {
		return invalid("k", "must be at least 1 module, is %d", k)
	}
	if k > depth {
		return invalid("k", "%d modules need at least %d blocks, the model has depth %d", k, k, depth)
	}
	return nil
}

// nearlyEven puts the deeper modules first.
func nearlyEven(depth, k int) []int {
	split := make([]int, k)
	for i := range split {
		split[i] = depth / k
		if i < depth%k {
			split[i]++
		}
	}
	return split
}

// Division is a target model divided into modules, and the depth of the meta
// modules that stand in for them (paper section 3).
type Division struct {
	Target    ViT
	Split     []int // depth of each target module
	MetaDepth int   // depth of each meta module
}

// NewDivision divides target into k modules with the depths in split, evenly
// if split is empty. Errors are *[Invalid], joined, under the keys k, split
// and meta_depth; the target itself is [ViT.Validate]'s business.
func NewDivision(target ViT, k int, split []int, metaDepth int) (Division, error) {
	var errs []error
	if len(split) == 0 {
		even, err := EvenSplit(target.Depth, k)
		split = even
		errs = append(errs, err)
	} else {
		errs = append(errs, CheckSplit(target.Depth, k, split))
	}
	if metaDepth < 1 {
		errs = append(errs, invalid("meta_depth", "must be at least 1 block a module, is %d", metaDepth))
	}
	if err := errors.Join(errs...); err != nil {
		return Division{}, err
	}
	return Division{target, split, metaDepth}, nil
}

// K is the number of modules.
func (d Division) K() int { return len(d.Split) }

// Meta is the shape of the meta model: the target's but for its depth.
func (d Division) Meta() ViT {
	m := d.Target
	m.Depth = d.K() * d.MetaDepth
	return m
}

// blocks gives the range [from, to) of the target's blocks that are module i's.
func (d Division) blocks(i int) (from, to int) {
	for _, n := range d.Split[:i-1] {
		from += n
	}
	return from, from + d.Split[i-1]
}

// An Owner is the model that a parameter belongs to. A target module and the
// meta module it replaces have parameters of the same timm name.
type Owner string

const (
	Target Owner = "target"
	Meta   Owner = "meta"
)

// Average is the owner of the averages of o's parameters (package optim).
func (o Owner) Average() Owner { return "ema/" + o }

// A Part is a piece of a network.
type Part struct {
	Owner  Owner
	Frozen bool // not trained
}

// A Layer is a transformer block of a network.
type Layer struct {
	Part
	Block int // its index in the numbering of its owner
}

// Network is a whole classifier put together from the target's and the meta
// model's parts.
type Network struct {
	ViT         // Depth is len(Blocks)
	Stem   Part // patch_embed, cls_token, pos_embed: of module 1
	Blocks []Layer
	Head   Part // norm, head: of module K
}

// TargetNet is the target model, trained end to end: what fine-tuning and the
// baseline train.
func (d Division) TargetNet() Network { return whole(Target, d.Target) }

// MetaNet is the meta model, trained end to end.
func (d Division) MetaNet() Network { return whole(Meta, d.Meta()) }

func whole(o Owner, v ViT) Network {
	p := Part{Owner: o}
	return Network{v, p, layers(nil, p, 0, v.Depth), p}
}

func layers(to []Layer, p Part, from, end int) []Layer {
	for b := from; b < end; b++ {
		to = append(to, Layer{p, b})
	}
	return to
}

// Hybrid is the i-th hybrid network, 1 <= i <= K: the frozen meta model with
// module i replaced by the target's, which is trained (paper section 3,
// equation 3). Module 1 brings the stem with it and module K the head, as in
// the official code.
func (d Division) Hybrid(i int) Network {
	if i < 1 || i > d.K() {
		panic(fmt.Sprintf("models: hybrid %d of %d modules", i, d.K()))
	}
	meta, target := Part{Owner: Meta, Frozen: true}, Part{Owner: Target}
	n := Network{ViT: d.Target, Stem: meta, Head: meta}
	n.Blocks = layers(n.Blocks, meta, 0, (i-1)*d.MetaDepth)
	from, to := d.blocks(i)
	n.Blocks = layers(n.Blocks, target, from, to)
	n.Blocks = layers(n.Blocks, meta, i*d.MetaDepth, d.K()*d.MetaDepth)
	if i == 1 {
		n.Stem = target
	}
	if i == d.K() {
		n.Head = target
	}
	n.Depth = len(n.Blocks)
	return n
}

// Averaged is n with the averages of the parameters that it trains in their
// place; frozen parts are as they are.
func (n Network) Averaged() Network {
	average := func(p Part) Part {
		if !p.Frozen {
			p.Owner = p.Owner.Average()
		}
		return p
	}
	blocks := make([]Layer, len(n.Blocks))
	for i, l := range n.Blocks {
		blocks[i] = Layer{average(l.Part), l.Block}
	}
	n.Stem, n.Blocks, n.Head = average(n.Stem), blocks, average(n.Head)
	return n
}

// Eval is n with every part frozen: the network as it is only evaluated.
func (n Network) Eval() Network {
	blocks := make([]Layer, len(n.Blocks))
	for i, l := range n.Blocks {
		l.Frozen = true
		blocks[i] = l
	}
	n.Stem.Frozen, n.Blocks, n.Head.Frozen = true, blocks, true
	return n
}
