package idx_test

import (
	"bytes"
	"fmt"
	"log"

	"hatchery/datasets/idx"
)

func Example() {
	var file bytes.Buffer
	if err := idx.Write(&file, []int{2, 1, 3}, []byte{1, 2, 3, 4, 5, 6}); err != nil {
		log.Fatal(err)
	}
	shape, err := idx.ReadHeader(&file, 3)
	if err != nil {
		log.Fatal(err)
	}
	// Here a caller refuses a shape that it cannot use.
	pixels, err := idx.ReadData(&file, shape)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(shape, len(pixels), pixels[5])
	// Output: [2 1 3] 6 6
}
