package lower

import (
	"fmt"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/models"
)

// programs returns training and evaluation programs of all kinds.
func programs(t *testing.T) map[string]*Program {
	t.Helper()
	all := map[string]*Program{}
	d := small(4)
	odd := d // of 5 tokens, with rows of 24 numbers, and batches of 3
	odd.Target.Width, odd.Target.Heads, odd.Target.Classes = 24, 2, 7
	long := d // of more tokens than a block of the attention takes
	long.Target.Image, long.Target.Patch = 40, 4
	pixels := &Pixels{Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}, Erase: true, Smoothing: 0.1}
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		for _, without := range []Fusion{0, AllFusions} {
			for _, c := range []struct {
				name     string
				networks []models.Network
				batch    int
				micro    int
			}{
				{"target", []models.Network{d.TargetNet()}, 4, 4},
				{"together", []models.Network{d.Hybrid(1), d.Hybrid(2)}, 8, 2},
				{"odd", []models.Network{odd.Hybrid(1), odd.Hybrid(2)}, 9, 3},
				{"long", []models.Network{long.TargetNet()}, 2, 1},
			} {
				o := Options{T: dtype, Batch: c.batch, Without: without}
				name := fmt.Sprintf("%s %v without %b", c.name, dtype, without)
				all[name] = training(t, c.networks, c.micro, 0.2, nil, o)
				o.Pixels = pixels
				all[name+" of pixels, recomputed"] = training(t, c.networks, c.micro, 0.2, map[string]bool{"layer_norm": true, "gelu": true}, o)
			}
			g, err := models.BuildTraining(t.Context(), []models.Network{odd.TargetNet()}, models.BuildOptions{Batch: 3})
			if err != nil {
				t.Fatal(err)
			}
			kept, err := Training(t.Context(), g, params(t, odd.TargetNet()), Optimizer{}, Options{T: dtype, Batch: 3, Without: without}, g.Outputs[0].Logits)
			if err != nil {
				t.Fatal(err)
			}
			all[fmt.Sprintf("logits kept %v without %b", dtype, without)] = kept
			graded := []models.Network{odd.TargetNet(), odd.TargetNet().EMA()}
			e, err := models.BuildEvaluation(t.Context(), graded, models.BuildOptions{Batch: 3})
			if err != nil {
				t.Fatal(err)
			}
			evaluation, err := Evaluation(e, params(t, odd.TargetNet()), Options{T: dtype, Batch: 3, Without: without, Pixels: pixels})
			if err != nil {
				t.Fatal(err)
			}
			all[fmt.Sprintf("evaluation %v without %b", dtype, without)] = evaluation
		}
	}
	return all
}

// TestProductsAreAligned checks that the matrices of products are aligned to 256 bytes, as
// promised to cuBLAS. Allocations are, so the offsets have to be.
func TestProductsAreAligned(t *testing.T) {
	for name, p := range programs(t) {
		n := 0
		for _, c := range p.Commands {
			if c.Product == nil {
				continue
			}
			n++
			operands := map[string]kernels.Buffer{"a": c.Product.In[0], "b": c.Product.In[1], "d": c.Product.Out, "bias": c.Product.Bias, "aux": c.Product.Aux}
			for which, b := range operands {
				if b.Offset%alignment != 0 {
					t.Errorf("%s: %s of %v in %s lies at %d of region %d", name, which, c.Product.Gemm, c.Operation.Name, b.Offset, b.ID)
				}
			}
		}
		if n == 0 {
			t.Errorf("%s has no products", name)
		}
	}
}

// TestOperationsCountWhatTheyRead checks that the values of an operation are the arguments
// of its kernels, so that its number of bytes is right.
func TestOperationsCountWhatTheyRead(t *testing.T) {
	for name, p := range programs(t) {
		given := map[*Operation]map[kernels.Buffer]bool{}
		for _, c := range p.Commands {
			if c.Operation == nil {
				continue
			}
			if given[c.Operation] == nil {
				given[c.Operation] = map[kernels.Buffer]bool{}
			}
			if m := c.Product; m != nil {
				for _, b := range []kernels.Buffer{m.In[0], m.In[1], m.Out, m.Bias, m.Aux} {
					given[c.Operation][b] = true
				}
			}
			if c.Launch != nil {
				for _, a := range c.Launch.Args {
					if a.Kind == kernels.Pointer {
						given[c.Operation][a.Buffer] = true
					}
				}
			}
		}
		for _, o := range p.Operations {
			for _, v := range append(append([]*Value{}, o.In...), o.Out...) {
				if v == nil {
					continue
				}
				at, bytes := v.At, v.Bytes()
				if !given[o][at] {
					switch at.ID { // a parameter's bfloat16 copy, element for element
					case Master:
						at = kernels.Buffer{ID: Copies, Offset: at.Offset / 2}
					case EMA:
						at = kernels.Buffer{ID: EMACopies, Offset: at.Offset / 2}
					}
					bytes /= 2
				}
				if !given[o][at] {
					t.Errorf("%s: %s lists %s at %v, which no kernel is given", name, o.Name, v.Name, v.At)
				} else if o.bytes(v) != bytes {
					t.Errorf("%s: %s counts %d bytes of %s, which is given as %d", name, o.Name, o.bytes(v), v.Name, bytes)
				}
			}
		}
	}
}
