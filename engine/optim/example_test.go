package optim_test

import (
	"fmt"
	"log"

	"hatchery/engine/optim"
)

// Example finds the minimum of (x-3)^2.
func Example() {
	x, grad := []float32{0}, []float32{0}
	o, err := optim.NewAdamW([]optim.Param{{Name: "x", Value: x, Grad: grad}}, optim.Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8})
	if err != nil {
		log.Fatal(err)
	}
	const steps = 500
	schedule := optim.Schedule{LR: 0.1, MinLR: 1e-4, Warmup: 10, WarmupLR: 1e-3, Total: steps}
	for step := range steps {
		grad[0] = 2 * (x[0] - 3)
		o.Step(schedule.At(step), 1.0) // gradients of a larger norm than 1 are scaled down to it
	}
	fmt.Printf("%.2f\n", x[0])
	// Output: 3.00
}
