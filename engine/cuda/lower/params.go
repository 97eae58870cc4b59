package lower

import (
	"encoding/binary"
	"fmt"

	"hatchery/engine/cuda/kernels"
	"hatchery/models"
)

// Params places every parameter of a job in flat buffers: those of each learner
// together, so that an optimizer takes them all at once, then the frozen ones.
// Master and, in bfloat16, Copies have Elements elements; gradients and the
// optimizer's moments exist for the first Trained of them.
type Params struct {
	Learners []LearnerParams
	Elements int
	Trained  int
	// GradElements is Trained, and behind it room for the gradients that a
	// pass writes for biases (LearnerParams.Biases).
	GradElements int
	TableBytes   int

	places map[string]place // by leaf
}

// LearnerParams are the parameters that one learner trains.
type LearnerParams struct {
	Layout kernels.Layout
	First  int // where the layout begins in the flat buffers, elements
	// Biases is how many elements the biases of linear layers take: they come
	// first. A product's epilogue writes their gradient and cannot add to it, so
	// the passes of a step after the first write it to Pass, in elements of
	// Grads, and one launch adds them all.
	Biases, Pass int
	// Chunks and Starts are where the layout's tables begin in Tables, bytes.
	Chunks, Starts int

	leaves []string
}

// place is where a parameter is.
type place struct {
	at, size int
	learner  int // -1: frozen
	bias     bool
}

// NewParams places the parameters of networks: trained[i] are those of learner
// i, and frozen is every other one.
func NewParams(trained [][]models.NetParam, frozen []models.NetParam) (*Params, error) {
	p := &Params{places: map[string]place{}}
	add := func(learner int, params []models.NetParam) error {
		var l LearnerParams
		var sizes []int
		var decay []bool
		l.First = p.Elements
		for _, biases := range []bool{true, false} {
			for _, q := range params {
				if isBias(q.Param) != biases {
					continue
				}
				if _, ok := p.places[q.Leaf()]; ok {
					return fmt.Errorf("lower: parameter %s belongs to two learners", q.Leaf())
				}
				p.places[q.Leaf()] = place{size: q.Size(), learner: learner, bias: biases}
				l.leaves = append(l.leaves, q.Leaf())
				sizes, decay = append(sizes, q.Size()), append(decay, q.Decay)
			}
			if biases {
				l.Biases = kernels.NewLayout(sizes, decay).Elements
			}
		}
		l.Layout = kernels.NewLayout(sizes, decay)
		for i, leaf := range l.leaves {
			at := p.places[leaf]
			at.at = l.First + l.Layout.Offsets[i]
			p.places[leaf] = at
		}
		p.Elements += l.Layout.Elements
		if learner >= 0 {
			p.Learners = append(p.Learners, l)
		}
		return nil
	}
	for i, params := range trained {
		if err := add(i, params); err != nil {
			return nil, err
		}
	}
	p.Trained, p.GradElements = p.Elements, p.Elements
	for i := range p.Learners {
		l := &p.Learners[i]
		l.Pass = p.GradElements
		p.GradElements += l.Biases
		l.Chunks = p.TableBytes
		l.Starts = int(roundUp(int64(l.Chunks + 4*len(l.Layout.Chunks))))
		p.TableBytes = int(roundUp(int64(l.Starts + 4*len(l.Layout.Starts))))
	}
	return p, add(-1, frozen)
}

// isBias says whether a parameter is the bias of a linear layer: those of a
// LayerNorm are called alike.
func isBias(p models.Param) bool {
	return len(p.Shape) == 1 && p.Name != "cls_token" && hasSuffix(p.Name, "proj.bias", "qkv.bias", "fc1.bias", "fc2.bias", "head.bias")
}

func hasSuffix(s string, suffixes ...string) bool {
	for _, x := range suffixes {
		if len(s) >= len(x) && s[len(s)-len(x):] == x {
			return true
		}
	}
	return false
}

// Table fills tables, of TableBytes, with what region Tables holds.
func (p *Params) Table(tables []byte) {
	put := func(at int, entries []int32) {
		for i, e := range entries {
			binary.LittleEndian.PutUint32(tables[at+4*i:], uint32(e))
		}
	}
	for _, l := range p.Learners {
		put(l.Chunks, l.Layout.Chunks)
		put(l.Starts, l.Layout.Starts)
	}
}

// Place is where a parameter begins in the flat buffers, elements.
func (p *Params) Place(leaf string) (at int, ok bool) {
	q, ok := p.places[leaf]
	return q.at, ok
}
