package datasets

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"sync"
)

// Fashion-MNIST: Xiao, Rasul and Vollgraf, arXiv:1708.07747.
var fashionSpec = Spec{
	Classes: []string{
		"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
		"Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
	},
	Channels: 1, Height: 28, Width: 28,
	Mean: []float32{0.28604060}, Std: []float32{0.35302424},
}

var fashionMNIST = dataset{
	info: Info{
		Spec:  fashionSpec.named("fashion-mnist"),
		About: "Fashion-MNIST: 28x28 grey images of clothes",
		Train: 60000, Eval: 10000,
	},
	format: idxFormat(mnistFiles(60000, 10000)),
	hint:   "fetch it with `hatchery data fetch fashion-mnist`, install Debian's package dataset-fashion-mnist, or put the four files of https://github.com/zalandoresearch/fashion-mnist into a folder and set the data set's root to it",
}

//go:generate go run fashion-mnist-5k/make.go

// The first 500 and 100 images of each class, made by fashion-mnist-5k/make.go.
// The patterns exclude make.go and include the licence.
//
//go:embed fashion-mnist-5k/*.gz fashion-mnist-5k/LICENSE
var embeddedFiles embed.FS

var embedded = dataset{
	info: Info{
		Spec:  fashionSpec.named("fashion-mnist-5k"),
		About: "class-balanced part of Fashion-MNIST that is part of the program",
		Train: 5000, Eval: 1000,
	},
	format: embeddedFormat{},
}

func (s Spec) named(name string) Spec {
	s.Name = name
	return s
}

// mnistFiles returns the files of MNIST and of the sets that replace it.
func mnistFiles(train, eval int) [2]idxFiles {
	return [2]idxFiles{
		{images: "train-images-idx3-ubyte", labels: "train-labels-idx1-ubyte", count: train},
		{images: "t10k-images-idx3-ubyte", labels: "t10k-labels-idx1-ubyte", count: eval},
	}
}

// embeddedFormat is the format of the files that are part of the program.
type embeddedFormat struct{}

func (e embeddedFormat) outline(ctx context.Context, d *dataset, src Source) ([2]*Set, error) {
	return e.read(ctx, d, src)
}

func (embeddedFormat) read(_ context.Context, _ *dataset, src Source) ([2]*Set, error) {
	if src.Root != "" {
		return [2]*Set{}, fmt.Errorf("it is part of the program and has no root, but the root is %s: leave it empty, or use fashion-mnist", src.Root)
	}
	return decodeEmbedded()
}

// decodeEmbedded reads the embedded set on its first use. It takes 30 ms, too short to
// be worth cancelling, and the result must not depend on the first caller's context.
var decodeEmbedded = sync.OnceValues(func() ([2]*Set, error) {
	in := folder{name: "embedded", open: func(name string) (fs.File, error) {
		return embeddedFiles.Open("fashion-mnist-5k/" + name + ".gz")
	}}
	return idxFormat(mnistFiles(5000, 1000)).readFrom(context.Background(), in, &embedded.info.Spec)
})
