package random_test

import (
	"fmt"

	"hatchery/engine/random"
)

// Example decides which of four images of the third epoch are mirrored.
func Example() {
	const seed, epoch = 1, 2
	var s random.Stream
	for sample := range uint64(4) {
		s.Reset(seed, "flip", epoch, sample)
		fmt.Println(sample, s.Float64() < 0.5)
	}
	// Output:
	// 0 true
	// 1 true
	// 2 true
	// 3 false
}
