package lower_test

import (
	"context"
	"fmt"
	"log"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
	"hatchery/models"
)

// Example lowers a training step of a small network and lists its first commands.
func Example() {
	v := models.ViT{Image: 8, Channels: 3, Patch: 4, Width: 16, Depth: 1, Heads: 2, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 10}
	network := models.Division{Target: v, Split: []int{1}, MetaDepth: 1}.TargetNet()
	g, err := models.BuildTraining(context.Background(), []models.Network{network}, models.BuildOptions{Batch: 4})
	if err != nil {
		log.Fatal(err)
	}
	params, err := lower.NewParams([][]models.NetParam{network.Params()}, nil) // nothing is frozen
	if err != nil {
		log.Fatal(err)
	}
	adamw := lower.Optimizer{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.05}
	program, err := lower.Training(context.Background(), g, params, adamw, lower.Options{T: kernels.BF16, Batch: 4})
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range program.Commands[:4] {
		fmt.Println(c.Operation.Name)
	}
	// Output:
	// patches_float
	// linear
	// tokens
	// layer_norm
}
