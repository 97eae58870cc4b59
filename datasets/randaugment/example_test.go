package randaugment_test

import (
	"fmt"
	"log"

	"hatchery/datasets/picture"
	"hatchery/datasets/randaugment"
	"hatchery/engine/random"
)

func Example() {
	p, err := randaugment.Parse("rand-m9-mstd0.5-inc1")
	if err != nil {
		log.Fatal(err)
	}
	image := picture.Picture{Pix: make([]uint8, 32*32*3), Width: 32, Height: 32, Channels: 3}
	var spare picture.Picture          // room to work in, for many images
	gray := []uint8{128, 128, 128}     // what comes in from outside the image
	s := random.New(1, "colour", 0, 7) // seed, purpose, epoch, sample
	p.Apply(s, &image, &spare, gray)
	fmt.Println(image.Width, image.Height)
	// Output: 32 32
}
