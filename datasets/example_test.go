package datasets_test

import (
	"context"
	"fmt"
	"log"

	"hatchery/datasets"
)

func Example() {
	ctx := context.Background()
	train, _, err := datasets.Open(ctx, datasets.Source{Name: "fashion-mnist-5k", Train: 250})
	if err != nil {
		log.Fatal(err)
	}
	l, err := datasets.NewTrainLoader(train, datasets.Options{Batch: 100, Prefetch: 2}, datasets.Training{
		Seed: 1, Purpose: "meta",
		Augment: datasets.Augment{CropPadding: 2, Flip: 0.5, Smoothing: 0.1},
	})
	if err != nil {
		log.Fatal(err)
	}
	for b, err := range l.Epoch(ctx, 0, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("step", b.Step, "images", b.Size, "pixels", len(b.Images), "targets", len(b.Targets))
	}
	// Output:
	// step 0 images 100 pixels 78400 targets 1000
	// step 1 images 100 pixels 78400 targets 1000
}
