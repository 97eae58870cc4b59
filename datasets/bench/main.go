// Command bench times loaders for pytorch.py. Its arguments are a kind of data ("cifar",
// a file of 3x32x32 images, or "folder"), its path, the size of the images, the batch
// size, and the number of workers. For each line of its input it loads one epoch with
// DeiT's whole augmentation, and prints the number of images and the seconds.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"hatchery/datasets"
)

func main() {
	if len(os.Args) != 6 {
		log.Fatalf("usage: %s cifar|folder path size batch workers", os.Args[0])
	}
	var numbers [3]int
	for i := range numbers {
		n, err := strconv.Atoi(os.Args[3+i])
		if err != nil {
			log.Fatal(err)
		}
		numbers[i] = n
	}
	l, err := loader(os.Args[1], os.Args[2], numbers[0], numbers[1], numbers[2])
	if err != nil {
		log.Fatal(err)
	}
	in := bufio.NewScanner(os.Stdin)
	for epoch := 0; in.Scan(); epoch++ {
		images := 0
		start := time.Now()
		for b, err := range l.Epoch(context.Background(), epoch, 0) {
			if err != nil {
				log.Fatal(err)
			}
			images += b.Size
		}
		fmt.Println(images, time.Since(start).Seconds())
	}
}

func loader(kind, path string, size, batch, workers int) (*datasets.Loader, error) {
	a := datasets.Augment{
		Flip: 0.5, RandAugment: "rand-m9-mstd0.5-inc1", Reprob: 0.25,
		Mixup: 0.8, CutMix: 1, MixProb: 1, SwitchProb: 0.5, Smoothing: 0.1,
	}
	var set *datasets.Set
	if kind == "cifar" {
		a.CropPadding = 4
		pixels, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		set = &datasets.Set{Spec: datasets.Spec{
			Name: path, Channels: 3, Height: 32, Width: 32, Classes: make([]string, 100),
			Mean: []float32{0.485, 0.456, 0.406}, Std: []float32{0.229, 0.224, 0.225},
		}, Images: pixels, Labels: make([]int32, len(pixels)/3072)}
		for i := range set.Labels {
			set.Labels[i] = int32(i % 100)
		}
	} else {
		a.ResizedCrop = [2]float64{0.08, 1}
		var err error
		if set, _, err = datasets.Open(context.Background(), datasets.Source{Name: "folder", Root: path}); err != nil {
			return nil, err
		}
	}
	return datasets.NewTrainLoader(set, datasets.Options{Batch: batch, Size: size, Prefetch: 2, Workers: workers},
		datasets.Training{Seed: 1, Purpose: "bench", Augment: a})
}
