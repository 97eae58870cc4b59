//go:build ignore

// This program makes the embedded subset of Fashion-MNIST: the first 500 training and
// the first 100 test images of each class, in the order of the original files. Run it
// with "go generate ./datasets". It reads the original files from Debian's package
// dataset-fashion-mnist, or from the folder that is its only argument.
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"hatchery/datasets/idx"
)

const classes = 10

func main() {
	log.SetFlags(0)
	from := "/usr/share/datasets/fashion-mnist"
	if len(os.Args) > 1 {
		from = os.Args[1]
	}
	for _, s := range []struct {
		split    string
		perClass int
	}{{"train", 500}, {"t10k", 100}} {
		if err := subset(from, s.split, s.perClass); err != nil {
			log.Fatal(err)
		}
	}
}

// subset writes the first perClass images of each class into this folder.
func subset(from, split string, perClass int) error {
	images, labels := split+"-images-idx3-ubyte.gz", split+"-labels-idx1-ubyte.gz"
	shape, pixels, err := read(filepath.Join(from, images), 3)
	if err != nil {
		return err
	}
	_, class, err := read(filepath.Join(from, labels), 1)
	if err != nil {
		return err
	}
	size := shape[1] * shape[2]
	var taken [classes]int
	var outPixels, outLabels []byte
	for i, c := range class {
		if taken[c] < perClass {
			taken[c]++
			outPixels = append(outPixels, pixels[i*size:(i+1)*size]...)
			outLabels = append(outLabels, c)
		}
	}
	if err := write(images, []int{len(outLabels), shape[1], shape[2]}, outPixels); err != nil {
		return err
	}
	return write(labels, []int{len(outLabels)}, outLabels)
}

func read(path string, dims int) ([]int, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	shape, err := idx.ReadHeader(z, dims)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := idx.ReadData(z, shape)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return shape, data, nil
}

// write compresses an array into a file of this folder. The gzip header has no name and
// no time, so the same input gives the same file.
func write(name string, shape []int, data []byte) error {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := idx.Write(z, shape, data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("fashion-mnist-5k", name), out.Bytes(), 0o644)
}
