package pipeline

import (
	"fmt"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/cpu"
	"hatchery/engine/graph"
	"hatchery/models"
	"hatchery/presets"
)

// deitTiny calls f for DeiT-T of two depths on one and two threads, with a
// batch of 64 images that are not random enough to matter.
// testdata/compare_pytorch.py runs the benchmarks beside PyTorch.
func deitTiny(b *testing.B, f func(b *testing.B, d models.Division, pool *cpu.Pool, images func([]float32), batch int)) {
	const batch = 64
	for _, depth := range []int{12, 32} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("depth=%d/threads=%d", depth, threads), func(b *testing.B) {
				pool := cpu.NewPool(threads)
				defer pool.Close()
				d := models.Division{Target: models.DeiTTiny(depth), Split: []int{depth}, MetaDepth: 1}
				f(b, d, pool, func(x []float32) {
					for i := range x {
						x[i] = float32(i%17)/8 - 1
					}
				}, batch)
				b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "images/s")
			})
		}
	}
}

// BenchmarkTrainingStep is a whole optimizer step.
func BenchmarkTrainingStep(b *testing.B) {
	deitTiny(b, func(b *testing.B, d models.Division, pool *cpu.Pool, images func([]float32), batch int) {
		recipe := presets.Stage{Batch: batch, Betas: []float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.05}
		s := &trainStage{Stage: Stage{Name: "e2e", Kind: E2E}, phase: "e2e", recipe: recipe, division: d, network: d.TargetNet()}
		t, err := newTrainer([]*trainStage{s}, weights{}, pool, 0)
		if err != nil {
			b.Fatal(err)
		}
		data := &datasets.Batch{Images: make([]float32, len(t.images)), Targets: make([]float32, len(t.targets)), Size: batch}
		images(data.Images)
		for i := range batch {
			data.Targets[i*100+i%100] = 1
		}
		for b.Loop() {
			if err := t.step(data, 1e-4); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEvaluation is a forward pass.
func BenchmarkEvaluation(b *testing.B) {
	deitTiny(b, func(b *testing.B, d models.Division, pool *cpu.Pool, images func([]float32), batch int) {
		g, err := models.BuildEvaluation([]models.Network{d.TargetNet()}, models.BuildOptions{Batch: batch})
		if err != nil {
			b.Fatal(err)
		}
		w := weights{}
		w.initialise(d.TargetNet().Params(), 0)
		wanted := []*graph.Node{g.Outputs[0].Losses, g.Outputs[0].Correct}
		plan, err := g.Plan(wanted...)
		if err != nil {
			b.Fatal(err)
		}
		e, err := cpu.Compile[float32](plan, pool, w)
		if err != nil {
			b.Fatal(err)
		}
		images(e.Data(g.Images))
		for b.Loop() {
			e.Run()
		}
	})
}
