package host

import (
	"math"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/random"
	"hatchery/models"
)

// TestEvaluationBatch checks that the sums have the same bits for every batch size, which
// depends on the memory.
func TestEvaluationBatch(t *testing.T) {
	const images = 23
	h := Open(2)
	defer h.Close()
	for _, v := range []models.ViT{
		{Image: 28, Channels: 1, Patch: 7, Width: 64, Depth: 2, Heads: 4, MLPRatio: 4, Classes: 10, QKVBias: true, NormEps: 1e-6},
		{Image: 32, Channels: 3, Patch: 2, Width: 48, Depth: 2, Heads: 3, MLPRatio: 4, Classes: 100, QKVBias: true, NormEps: 1e-6}, // 257 tokens: three blocks of queries
	} {
		d := models.Division{Target: v, Split: []int{2}, MetaDepth: 1}
		n := d.TargetNet()
		w := backend.Weights{}
		for _, p := range n.Params() {
			w[p.Leaf()] = models.Initialize(p.Param, 1, p.Owner)
		}
		pixels, s := v.Channels*v.Image*v.Image, random.New(1, "images")
		all := make([]float32, images*pixels)
		for i := range all {
			all[i] = float32(s.NormFloat64())
		}
		var want backend.Sum
		for _, batch := range []int{100, 1, 2, 5, 7, 16, 23} {
			e, err := h.NewEvaluator([]models.Network{n}, batch, w, nil)
			if err != nil {
				t.Fatal(err)
			}
			for first := 0; first < images; first += e.Batch() {
				b := &datasets.Batch{Size: min(e.Batch(), images-first), Images: make([]float32, e.Batch()*pixels), Targets: make([]float32, e.Batch()*v.Classes)}
				copy(b.Images, all[first*pixels:])
				for i := range b.Size {
					b.Targets[i*v.Classes+(first+i)%v.Classes] = 1
				}
				if err := e.Grade(b); err != nil {
					t.Fatal(err)
				}
			}
			sums, err := e.Sums()
			if err != nil {
				t.Fatal(err)
			}
			if want == (backend.Sum{}) {
				want = sums[0]
			} else if math.Float64bits(sums[0].Loss) != math.Float64bits(want.Loss) || sums[0].Correct != want.Correct {
				t.Errorf("%d tokens, %d images at once: %+v, want %+v", v.Tokens(), e.Batch(), sums[0], want)
			}
		}
	}
}

// TestEvaluationFits checks that evaluation uses the largest batch that fits into its arena.
func TestEvaluationFits(t *testing.T) {
	v := models.ViT{Image: 32, Channels: 3, Patch: 1, Width: 32, Depth: 4, Heads: 2, MLPRatio: 4, Classes: 10, QKVBias: true, NormEps: 1e-6}
	n := models.Division{Target: v, Split: []int{4}, MetaDepth: 1}.TargetNet()
	takes := func(most int, arena int64) (int, int64) {
		_, plan, batch, err := buildEvaluation(t.Context(), []models.Network{n}, most, arena)
		if err != nil {
			t.Fatal(err)
		}
		return batch, arenaBytes(plan)
	}
	batch, bytes := takes(100, 1<<40)
	if batch != 100 {
		t.Errorf("%d images at once where there is room, want 100", batch)
	}
	each := bytes / 100
	for _, room := range []int64{5*each + each/2, evalArena} {
		batch, bytes := takes(100, room)
		if bytes > room || bytes+2*each < room {
			t.Errorf("%d images take %d bytes of %d", batch, bytes, room)
		}
	}
	if batch, _ := takes(100, 1); batch != 1 {
		t.Errorf("%d images at once without room, want 1", batch)
	}
}
