package graph_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"hatchery/engine/graph"
	"hatchery/engine/nn"
	"hatchery/models"
)

// deitTiny returns DeiT-T for CIFAR-100 (paper section 4.1), of any depth.
func deitTiny(depth int) models.ViT {
	return models.ViT{Image: 32, Channels: 3, Patch: 4, Width: 192, Depth: depth, Heads: 3, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 100}
}

// trainingPlan plans a training step of a ViT.
func trainingPlan(t testing.TB, v models.ViT, batch int, recompute map[string]bool) *graph.Plan {
	t.Helper()
	d := models.Division{Target: v, Split: []int{v.Depth}, MetaDepth: 1}
	g, err := models.BuildTraining(t.Context(), []models.Network{d.TargetNet()}, models.BuildOptions{Batch: batch, Recompute: recompute})
	if err != nil {
		t.Fatal(err)
	}
	grads, err := g.Gradients(t.Context(), g.Loss)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := g.Plan(append([]*graph.Node{g.Loss}, grads...)...)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestArena checks that the arena of a deep network is hardly larger than the values that
// are alive together, and that recomputing makes it smaller.
func TestArena(t *testing.T) {
	v := deitTiny(32)
	plain := trainingPlan(t, v, 64, nil)
	// Alignment may waste a cache line per value.
	if plain.Arena > plain.Peak+plain.Peak/1000 || plain.Arena > plain.Naive*6/10 {
		t.Errorf("arena of %d elements; %d are alive at once and %d in all", plain.Arena, plain.Peak, plain.Naive)
	}
	some := trainingPlan(t, v, 64, map[string]bool{"layer_norm": true, "gelu": true})
	all := trainingPlan(t, v, 64, map[string]bool{"layer_norm": true, "gelu": true, "linear": true, "attention": true})
	if some.Arena > plain.Arena*7/10 || all.Arena > plain.Arena/4 {
		t.Errorf("arenas of %d, %d and %d elements, recomputing nothing, norms and GELU, and all", plain.Arena, some.Arena, all.Arena)
	}
	t.Logf("MiB: naive %d, arena %d, norms and GELU recomputed %d, all %d",
		plain.Naive>>18, plain.Arena>>18, some.Arena>>18, all.Arena>>18)
}

// TestPlansAreEqual checks that a network always gives the same plan, so that a resumed
// run computes in the same order.
func TestPlansAreEqual(t *testing.T) {
	layout := func() (all []any) {
		for _, s := range trainingPlan(t, deitTiny(4), 2, nil).Steps {
			all = append(all, s.Kernel)
			for _, v := range append(append([]*graph.Value{}, s.In...), s.Out...) {
				if v != nil {
					all = append(all, v.Name, v.Offset)
				}
			}
		}
		return all
	}
	want := layout()
	for range 3 {
		if !reflect.DeepEqual(layout(), want) {
			t.Fatal("two plans of one network differ")
		}
	}
}

func TestPlanOmitsUnusedNodes(t *testing.T) {
	b := graph.NewBuilder(graph.Float32)
	x := b.Input("x", 4)
	wanted, unused := nn.GELU(b, x), nn.GELU(b, b.Input("unused", 4))
	plan, err := b.Plan(wanted)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Steps) != 1 || len(plan.Leaves()) != 1 || plan.Value(unused) != nil || !plan.Value(wanted).Wanted {
		t.Errorf("%d steps, leaves %v", len(plan.Steps), plan.Leaves())
	}
}

func TestGradientOfUnusedParameter(t *testing.T) {
	b := graph.NewBuilder(graph.Float32)
	b.Param("lonely", 4)
	loss := nn.L1(b, nn.GELU(b, b.Param("w", 4)), b.Input("y", 4))
	if _, err := b.Gradients(t.Context(), loss); err == nil {
		t.Error("no error for a parameter that the loss does not depend on")
	}
}

func TestBuildingStops(t *testing.T) {
	d := models.Division{Target: deitTiny(4), Split: []int{4}, MetaDepth: 1}
	networks := []models.Network{d.TargetNet()}
	g, err := models.BuildTraining(t.Context(), networks, models.BuildOptions{Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Gradients(ctx, g.Loss); !errors.Is(err, context.Canceled) {
		t.Errorf("gradients: %v", err)
	}
	if _, err := models.BuildTraining(ctx, networks, models.BuildOptions{Batch: 2}); !errors.Is(err, context.Canceled) {
		t.Errorf("training: %v", err)
	}
	if _, err := models.BuildEvaluation(ctx, networks, models.BuildOptions{Batch: 2}); !errors.Is(err, context.Canceled) {
		t.Errorf("evaluation: %v", err)
	}
}

func BenchmarkPlan(b *testing.B) {
	for b.Loop() {
		trainingPlan(b, deitTiny(128), 128, nil)
	}
}
