package models

import (
	"errors"
	"fmt"
)

// EvenSplit divides depth blocks into k modules of equal depth. If that is not possible,
// the error (an *[Invalid]) lists the possible k and suggests nearly equal depths.
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

// CheckSplit returns an error, an *[Invalid], unless split divides depth blocks into k
// modules.
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

// nearlyEven divides depth blocks into k modules whose depths differ by at most 1, the
// deeper ones first.
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
// modules that replace them (paper section 3).
type Division struct {
	Target    ViT
	Split     []int // depth of each target module
	MetaDepth int   // depth of each meta module
}

// NewDivision divides target into k modules with the depths in split, evenly
// if split is empty. Errors are *[Invalid], joined, under the keys k, split
// and meta_depth. It does not check the target: see [ViT.Validate].
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

// K returns the number of modules.
func (d Division) K() int { return len(d.Split) }

// Meta returns the shape of the meta model: the target's, except for the depth.
func (d Division) Meta() ViT {
	m := d.Target
	m.Depth = d.K() * d.MetaDepth
	return m
}

// blocks returns the range [from, to) of the target's blocks in module i.
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

// EMA returns the owner of the moving averages of o's parameters (package optim).
func (o Owner) EMA() Owner { return "ema/" + o }

// A Part is a part of a network.
type Part struct {
	Owner  Owner
	Frozen bool // not trained
}

// A Layer is a transformer block of a network.
type Layer struct {
	Part
	Block int // its index among the blocks of its owner
}

// Network is a complete classifier, assembled from parts of the target and of the meta
// model.
type Network struct {
	ViT         // Depth is len(Blocks)
	Stem   Part // patch_embed, cls_token, pos_embed: part of module 1
	Blocks []Layer
	Head   Part // norm, head: part of module K
}

// TargetNet returns the target model, trained end to end, as in fine-tuning and in the
// baseline.
func (d Division) TargetNet() Network { return endToEnd(Target, d.Target) }

// MetaNet returns the meta model, trained end to end.
func (d Division) MetaNet() Network { return endToEnd(Meta, d.Meta()) }

func endToEnd(o Owner, v ViT) Network {
	p := Part{Owner: o}
	return Network{v, p, layers(nil, p, 0, v.Depth), p}
}

func layers(blocks []Layer, p Part, from, to int) []Layer {
	for b := from; b < to; b++ {
		blocks = append(blocks, Layer{p, b})
	}
	return blocks
}

// Hybrid returns the i-th hybrid network, 1 <= i <= K: the frozen meta model with
// module i replaced by the target's, which is trained (paper section 3,
// equation 3). Module 1 includes the stem and module K the head, as in the
// official code.
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

// EMA returns n with its trained parameters replaced by their moving averages. Frozen
// parts stay the same.
func (n Network) EMA() Network {
	ema := func(p Part) Part {
		if !p.Frozen {
			p.Owner = p.Owner.EMA()
		}
		return p
	}
	blocks := make([]Layer, len(n.Blocks))
	for i, l := range n.Blocks {
		blocks[i] = Layer{ema(l.Part), l.Block}
	}
	n.Stem, n.Blocks, n.Head = ema(n.Stem), blocks, ema(n.Head)
	return n
}

// Eval returns n with every part frozen, for evaluation.
func (n Network) Eval() Network {
	blocks := make([]Layer, len(n.Blocks))
	for i, l := range n.Blocks {
		l.Frozen = true
		blocks[i] = l
	}
	n.Stem.Frozen, n.Blocks, n.Head.Frozen = true, blocks, true
	return n
}
