package lower

import (
	"encoding/binary"
	"fmt"
	"strings"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
	"hatchery/models"
)

// Params gives every parameter of a job an offset in flat buffers: first those of each
// learner together, so that an optimizer updates them all at once, then the frozen ones.
// Master and, in bfloat16, Copies have Elements elements. Gradients and the optimizer's
// moments exist for the first Trained of them.
type Params struct {
	Learners []LearnerParams
	Elements int
	Trained  int
	// GradElements is Trained plus the elements for the gradients of biases that a
	// pass writes (LearnerParams.Biases).
	GradElements int
	TableBytes   int

	locations map[string]location // by leaf
}

// LearnerParams are the parameters that one learner trains.
type LearnerParams struct {
	Layout kernels.Layout
	First  int // offset of the layout in the flat buffers, in elements
	// Biases is the number of elements of the biases of linear layers, which come
	// first. The epilogue of a product writes their gradient but cannot add to it. So
	// all passes of a step after the first write it to offset Pass of Grads, in
	// elements, and one launch adds them all.
	Biases, Pass int
	// Chunks and Starts are the offsets of the layout's tables in Tables, in bytes.
	Chunks, Starts int

	leaves []string
}

// emaPrefix is the prefix of the leaves of moving averages.
var emaPrefix = string(models.Owner("").EMA())

// buffer returns the buffer of a leaf.
func (p *Params) buffer(leaf string) kernels.Buffer {
	if param, ok := strings.CutPrefix(leaf, emaPrefix); ok {
		return kernels.Buffer{ID: EMA, Offset: 4 * int64(p.locations[param].offset)}
	}
	return kernels.Buffer{ID: Master, Offset: 4 * int64(p.locations[leaf].offset)}
}

// location describes a parameter in the flat buffers.
type location struct {
	offset, size int // elements
	learner      int // -1: frozen
	bias         bool
}

// NewParams lays out parameters: trained[i] are those of learner i, and frozen are all
// others.
func NewParams(trained [][]models.NetParam, frozen []Leaf) (*Params, error) {
	p := &Params{locations: map[string]location{}}
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
				if _, ok := p.locations[q.Leaf()]; ok {
					return fmt.Errorf("lower: parameter %s belongs to two learners", q.Leaf())
				}
				p.locations[q.Leaf()] = location{size: q.Size(), learner: learner, bias: biases}
				l.leaves = append(l.leaves, q.Leaf())
				sizes, decay = append(sizes, q.Size()), append(decay, q.Decay)
			}
			if biases {
				l.Biases = kernels.NewLayout(sizes, decay).Elements
			}
		}
		l.Layout = kernels.NewLayout(sizes, decay)
		for i, leaf := range l.leaves {
			loc := p.locations[leaf]
			loc.offset = l.First + l.Layout.Offsets[i]
			p.locations[leaf] = loc
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

// Leaf is a frozen parameter: its name in graphs, and its number of elements.
type Leaf struct {
	Name string
	Size int
}

// Frozen returns the parameters that graphs read and that are not trained, in the order of
// their first use.
func Frozen(trained [][]models.NetParam, graphs ...*models.Graph) []Leaf {
	seen := map[string]bool{}
	for _, params := range trained {
		for _, p := range params {
			seen[p.Leaf()] = true
			p.Owner = p.Owner.EMA() // moving averages have their own region
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

// isBias reports whether a parameter is the bias of a linear layer. The biases of LayerNorms
// have similar names.
func isBias(p models.Param) bool {
	for _, layer := range []string{"proj", "qkv", "fc1", "fc2", "head"} {
		if strings.HasSuffix(p.Name, layer+".bias") {
			return true
		}
	}
	return false
}

// Table writes the content of region Tables to tables, which has TableBytes.
func (p *Params) Table(tables []byte) {
	put := func(offset int, entries []int32) {
		for i, e := range entries {
			binary.LittleEndian.PutUint32(tables[offset+4*i:], uint32(e))
		}
	}
	for _, l := range p.Learners {
		put(l.Chunks, l.Layout.Chunks)
		put(l.Starts, l.Layout.Starts)
	}
}

// Offset returns the offset of a parameter in the flat buffers, in elements, and whether it
// exists.
func (p *Params) Offset(leaf string) (offset int, ok bool) {
	l, ok := p.locations[leaf]
	return l.offset, ok
}

// Gather copies the parameters in w to all, which has Elements elements.
func (p *Params) Gather(all []float32, w map[string][]float32) error {
	for leaf, q := range p.locations {
		data := w[leaf]
		if len(data) != q.size {
			return fmt.Errorf("parameter %s has %d elements, the network needs %d", leaf, len(data), q.size)
		}
		copy(all[q.offset:], data)
	}
	return nil
}
