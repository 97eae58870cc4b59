package fetch_test

import (
	"context"
	"log"

	"hatchery/datasets/fetch"
)

func Example() {
	files, err := fetch.Files("cifar-100")
	if err != nil {
		log.Fatal(err)
	}
	if err := fetch.Fetch(context.Background(), files, "data/cifar-100", fetch.Options{}); err != nil {
		log.Fatal(err)
	}
}
