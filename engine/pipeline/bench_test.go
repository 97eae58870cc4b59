package pipeline

import (
	"fmt"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/backend/host"
	"hatchery/engine/method"
	"hatchery/engine/optim"
	"hatchery/models"
	"hatchery/presets"
)

// deitTiny calls f for DeiT-T with two depths on one and two threads, with a batch of 64 images
// with arbitrary content.
// testdata/compare_pytorch.py runs the benchmarks beside PyTorch.
func deitTiny(b *testing.B, f func(b *testing.B, d models.Division, on backend.Backend, images func([]float32), batch int)) {
	const batch = 64
	for _, depth := range []int{12, 32} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("depth=%d/threads=%d", depth, threads), func(b *testing.B) {
				on := host.Open(threads)
				defer on.Close()
				target := models.ViT{Image: 32, Channels: 3, Patch: 4, Width: 192, Depth: depth, Heads: 3, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 100}
				d := models.Division{Target: target, Split: []int{depth}, MetaDepth: 1}
				f(b, d, on, func(x []float32) {
					for i := range x {
						x[i] = float32(i%17)/8 - 1
					}
				}, batch)
				b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "images/s")
			})
		}
	}
}

// endToEnd returns the stage that trains a target model end to end.
func endToEnd(d models.Division) method.Stage {
	s, _ := method.Find(&presets.Config{Model: d.Target, Run: presets.Run{Methods: []string{"e2e"}}}, "e2e")
	return s
}

// BenchmarkPlan plans all stages of quickstart, with deeper networks.
func BenchmarkPlan(b *testing.B) {
	for _, device := range []string{"cpu", "cuda:0"} {
		for _, depth := range []int{64, 128, 256, 1024} {
			b.Run(fmt.Sprintf("%s/depth=%d", device, depth), func(b *testing.B) {
				c, err := presets.Load("quickstart", []string{"run.device=" + device, fmt.Sprintf("model.depth=%d", depth)})
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if _, err := Plan(b.Context(), c, 5000); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkTrainingStep measures a whole optimizer step.
func BenchmarkTrainingStep(b *testing.B) {
	deitTiny(b, func(b *testing.B, d models.Division, on backend.Backend, images func([]float32), batch int) {
		recipe := presets.Recipe{Batch: batch, Optimizer: optim.NameAdamW, Betas: []float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05}
		s := &trainStage{Stage: endToEnd(d), recipe: recipe, division: d, network: d.TargetNet()}
		t, err := newTrainer(on, []*trainStage{s}, weights{}, 0, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		data := batchOf(d.Target, batch)
		images(data.Images)
		for i := range batch {
			data.Targets[i*100+i%100] = 1
		}
		for b.Loop() {
			if err := t.Step(data, 1e-4); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// batchOf returns an empty batch for a model.
func batchOf(v models.ViT, images int) *datasets.Batch {
	return &datasets.Batch{
		Images:  make([]float32, images*v.Channels*v.Image*v.Image),
		Targets: make([]float32, images*v.Classes),
		Size:    images,
	}
}

// BenchmarkEvaluation measures a forward pass.
func BenchmarkEvaluation(b *testing.B) {
	deitTiny(b, func(b *testing.B, d models.Division, on backend.Backend, images func([]float32), batch int) {
		w := weights{}
		w.initialise(d.TargetNet().Params(), 0)
		e, err := on.NewEvaluator([]models.Network{d.TargetNet()}, batch, backend.Weights(w), nil)
		if err != nil {
			b.Fatal(err)
		}
		data := batchOf(d.Target, e.Batch())
		images(data.Images)
		graded := 0
		for b.Loop() {
			for left := batch; left > 0; left -= data.Size {
				data.Size = min(left, e.Batch())
				graded += e.Batch() // rows without an image take the same time
				if err := e.Grade(data); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(graded)/b.Elapsed().Seconds(), "rows/s")
	})
}
