package lower

import (
	"encoding/binary"
	"fmt"
	"strings"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
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

// emaPrefix begins the leaves of averaged parameters.
var emaPrefix = string(models.Owner("").EMA())

// buffer is where a leaf is.
func (p *Params) buffer(leaf string) kernels.Buffer {
	if of, ok := strings.CutPrefix(leaf, emaPrefix); ok {
		return kernels.Buffer{ID: EMA, Offset: 4 * int64(p.places[of].at)}
	}
	return kernels.Buffer{ID: Master, Offset: 4 * int64(p.places[leaf].at)}
}

// place is where a parameter is.
type place struct {
	at, size int
	learner  int // -1: frozen
	bias     bool
}

// NewParams places parameters: trained[i] are those of learner i, and frozen is
// every other one.
func NewParams(trained [][]models.NetParam, frozen []Leaf) (*Params, error) {
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
	var rest []models.NetParam
	for _, f := range frozen {
		owner, name, _ := strings.Cut(f.Name, "/")
		rest = append(rest, models.NetParam{Param: models.Param{Name: name, Shape: []int{f.Size}}, Part: models.Part{Owner: models.Owner(owner)}})
	}
	return p, add(-1, rest)
}

// Leaf is a frozen parameter: its name in graphs, and its elements.
type Leaf struct {
	Name string
	Size int
}

// Frozen lists the parameters that graphs read and that are not among the
// trained ones, in the order in which they are met.
func Frozen(trained [][]models.NetParam, graphs ...*models.Graph) []Leaf {
	seen := map[string]bool{}
	for _, params := range trained {
		for _, p := range params {
			seen[p.Leaf()] = true
			p.Owner = p.Owner.EMA() // which lies elsewhere
			seen[p.Leaf()] = true
		}
	}
	var frozen []Leaf
	for _, g := range graphs {
		seen[g.Images.Name()], seen[g.Targets.Name()] = true, true
		for _, d := range g.DropPaths {
			seen[d.Node.Name()] = true
		}
		var wanted []*graph.Node
		for _, o := range g.Outputs {
			if o.Loss != nil {
				wanted = append(wanted, o.Loss)
			} else {
				wanted = append(wanted, o.Losses)
			}
		}
		for _, n := range graph.Leaves(wanted...) {
			if !seen[n.Name()] {
				seen[n.Name()] = true
				frozen = append(frozen, Leaf{n.Name(), n.Shape().TotalSize()})
			}
		}
	}
	return frozen
}

// isBias reports whether a parameter is the bias of a linear layer: those of a
// LayerNorm are called alike.
func isBias(p models.Param) bool {
	for _, layer := range []string{"proj", "qkv", "fc1", "fc2", "head"} {
		if strings.HasSuffix(p.Name, layer+".bias") {
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

// Gather fills all, of Elements, with the parameters in w.
func (p *Params) Gather(all []float32, w map[string][]float32) error {
	for leaf, q := range p.places {
		data := w[leaf]
		if len(data) != q.size {
			return fmt.Errorf("parameter %s has %d elements, the network needs %d", leaf, len(data), q.size)
		}
		copy(all[q.at:], data)
	}
	return nil
}
