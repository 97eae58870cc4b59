package models_test

import (
	"fmt"
	"log"

	"hatchery/models"
)

// Example divides DeiT-T into 4 modules and lists their hybrid networks.
func Example() {
	target := models.ViT{Image: 32, Channels: 3, Patch: 4, Width: 192, Depth: 32, Heads: 3, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 100}
	d, err := models.NewDivision(target, 4, nil, 1)
	if err != nil {
		log.Fatal(err)
	}
	for i := 1; i <= d.K(); i++ {
		n := d.Hybrid(i) // the meta model with module i of the target
		c := n.Cost()
		fmt.Println("module", i, "depth", n.Depth, "parameters", c.Params, "trained", c.Trainable)
	}
	// Output:
	// module 1 depth 11 parameters 4935268 trained 3580992
	// module 2 depth 11 parameters 4935268 trained 3558912
	// module 3 depth 11 parameters 4935268 trained 3558912
	// module 4 depth 11 parameters 4935268 trained 3578596
}
