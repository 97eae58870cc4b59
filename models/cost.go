package models

// Cost is what a network takes, as far as its description tells: activation
// memory is the execution plan's to say.
type Cost struct {
	// Forward is the multiply-accumulates (MACs) of one image's forward pass,
	// which the paper's tables call FLOPs: matrix products, and 5 per element
	// of a LayerNorm; softmax, GELU and additions count as nothing.
	Forward int64
	// Step is the MACs of one image's share of a training step, forward and
	// backward, as if the last block were computed for all tokens, which is how
	// the paper counts. The gradient of each operand of an operation costs what its
	// forward pass does, and only those that training needs are counted:
	// none before the first trained part, and none of frozen weights.
	Step int64

	Params    int64 // number of all parameters
	Trainable int64 // number of those that are not frozen
}

// LayerNorm's MACs an element.
const normMACs = 5

// Cost adds up the network's parts.
func (n Network) Cost() Cost {
	var c Cost
	for _, p := range n.Params() {
		c.Params += int64(p.Size())
		if !p.Frozen {
			c.Trainable += int64(p.Size())
		}
	}

	// Whether anything up to here is trained, so that gradients flow.
	flows := !n.Stem.Frozen
	c.Forward = n.stemMACs()
	c.Step = c.Forward
	if !n.Stem.Frozen {
		c.Step += n.stemMACs() // the weight's; nobody wants the image's
	}
	backward := func(part Part, weighted, unweighted, firstNorm int64) {
		forward := weighted + unweighted
		c.Forward += forward
		c.Step += forward
		if !flows && part.Frozen {
			return
		}
		c.Step += weighted + 2*unweighted // of the inputs; a product of two inputs has two
		if !flows {
			c.Step -= firstNorm // whose input needs none
		}
		if !part.Frozen {
			c.Step += weighted
		}
		flows = true
	}
	for _, l := range n.Blocks {
		backward(l.Part, n.blockMACs(), n.attentionMACs(), n.layerNormMACs())
	}
	backward(n.Head, n.headMACs(), 0, n.layerNormMACs())
	return c
}

func (v ViT) stemMACs() int64 {
	return int64(v.Patches()) * int64(v.Width) * int64(v.Channels*v.Patch*v.Patch)
}

// blockMACs counts a block's operations that have a weight; attentionMACs
// the rest.
func (v ViT) blockMACs() int64 {
	t, d, h := int64(v.Tokens()), int64(v.Width), int64(v.Hidden())
	return t*d*3*d + t*d*d + 2*t*d*h + 2*v.layerNormMACs()
}

// attentionMACs counts the two products of attention: queries with keys, and
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
