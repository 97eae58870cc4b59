package pipeline

import (
	"fmt"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/cpu"
	"hatchery/models"
	"hatchery/presets"
)

// BenchmarkTrainingStep is a whole optimizer step of DeiT-T at 32x32 with 4x4
// patches, batch 64, on random images. scripts compare it with PyTorch.
func BenchmarkTrainingStep(b *testing.B) {
	for _, depth := range []int{12, 32} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("depth=%d/threads=%d", depth, threads), func(b *testing.B) {
				pool := cpu.NewPool(threads)
				defer pool.Close()
				const batch = 64
				d := models.Division{Target: models.DeiTTiny(depth), Split: []int{depth}, MetaDepth: 1}
				recipe := presets.Stage{Batch: batch, Betas: []float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05}
				s := &trainStage{Stage: Stage{Name: "e2e", Kind: E2E}, phase: "e2e", recipe: recipe, division: d, network: d.TargetNet()}
				t, err := newTrainer([]*trainStage{s}, weights{}, pool, 0)
				if err != nil {
					b.Fatal(err)
				}
				data := &datasets.Batch{Images: make([]float32, len(t.images)), Targets: make([]float32, len(t.targets)), Size: batch}
				for i := range data.Images {
					data.Images[i] = float32(i%17)/8 - 1
				}
				for i := range batch {
					data.Targets[i*100+i%100] = 1
				}
				for b.Loop() {
					if err := t.step(data, 1e-4); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "images/s")
			})
		}
	}
}
