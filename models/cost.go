package models

// Cost is the computation and size of a network. The memory for activations depends on
// the execution plan and is not part of it.
type Cost struct {
	// Forward is the number of multiply-accumulates (MACs) in the forward pass of
	// one image, which the paper's tables call FLOPs: those of matrix products, and
	// 5 per element of a LayerNorm. Softmax, GELU and additions do not count.
	Forward int64
	// Step is the number of MACs per image in a training step, forward and backward.
	// Like the paper, it counts all tokens in the last block. The gradient of an
	// operand costs as much as the operation's forward pass. Only gradients that
	// training needs count: none before the first trained part, and none of frozen
	// weights.
	Step int64

	Params    int64 // number of parameters
	Trainable int64 // number of parameters that are not frozen
}

// normMACs is the number of MACs per element of a LayerNorm.
const normMACs = 5

// Cost returns the cost of the network.
func (n Network) Cost() Cost {
	var c Cost
	for _, p := range n.Params() {
		c.Params += int64(p.Size())
		if !p.Frozen {
			c.Trainable += int64(p.Size())
		}
	}

	trained := !n.Stem.Frozen // whether any part so far is trained, so that gradients are needed
	c.Forward = n.stemMACs()
	c.Step = c.Forward
	if !n.Stem.Frozen {
		c.Step += n.stemMACs() // for the weight; the image needs no gradient
	}
	add := func(part Part, weighted, unweighted, firstNorm int64) {
		forward := weighted + unweighted
		c.Forward += forward
		c.Step += forward
		if !trained && part.Frozen {
			return
		}
		c.Step += weighted + 2*unweighted // gradients of the inputs; a product of two inputs has two
		if !trained {
			c.Step -= firstNorm // its input needs no gradient
		}
		if !part.Frozen {
			c.Step += weighted
		}
		trained = true
	}
	for _, l := range n.Blocks {
		add(l.Part, n.blockMACs(), n.attentionMACs(), n.layerNormMACs())
	}
	add(n.Head, n.headMACs(), 0, n.layerNormMACs())
	return c
}

func (v ViT) stemMACs() int64 {
	return int64(v.Patches()) * int64(v.Width) * int64(v.Channels*v.Patch*v.Patch)
}

// blockMACs returns the MACs of a block's operations with weights; attentionMACs those
// of the others.
func (v ViT) blockMACs() int64 {
	t, d, h := int64(v.Tokens()), int64(v.Width), int64(v.Hidden())
	return t*d*3*d + t*d*d + 2*t*d*h + 2*v.layerNormMACs()
}

// attentionMACs returns the MACs of the two products of attention: queries with keys, and
// probabilities with values.
func (v ViT) attentionMACs() int64 {
	t, d := int64(v.Tokens()), int64(v.Width)
	return 2 * t * t * d
}

func (v ViT) headMACs() int64 {
	return v.layerNormMACs() + int64(v.Width)*int64(v.Classes)
}

func (v ViT) layerNormMACs() int64 {
	return normMACs * int64(v.Tokens()) * int64(v.Width)
}
