package datasets

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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
		About: "Fashion-MNIST: 28x28 grey images of clothes (files: Debian's package dataset-fashion-mnist)",
		Train: 60000, Eval: 10000,
	},
	splits: mnistFiles(60000, 10000),
	find:   findFolder,
	getIt:  "install Debian's package dataset-fashion-mnist, or put the four files of https://github.com/zalandoresearch/fashion-mnist into a folder and name it as the data set's root",
}

//go:generate go run fashion-mnist-5k/make.go

// The first 500 and 100 images of each class, made by fashion-mnist-5k/make.go.
// The pattern leaves make.go out and takes the licence along.
//
//go:embed fashion-mnist-5k/*.gz fashion-mnist-5k/LICENSE
var embeddedFiles embed.FS

var embedded = dataset{
	info: Info{
		Spec:  fashionSpec.named("fashion-mnist-5k"),
		About: "class-balanced part of Fashion-MNIST that comes with the program",
		Train: 5000, Eval: 1000,
	},
	splits: mnistFiles(5000, 1000),
	find: func(_ *dataset, root string) (folder, error) {
		if root != "" {
			return folder{}, fmt.Errorf("it is part of the program and has no root folder, but %s was given as one: leave the root empty, or use fashion-mnist", root)
		}
		return folder{name: "embedded", open: func(name string) (fs.File, error) {
			return embeddedFiles.Open("fashion-mnist-5k/" + name + ".gz")
		}}, nil
	},
}

func (s Spec) named(name string) Spec {
	s.Name = name
	return s
}

// mnistFiles is the files of MNIST and of the sets made in its image.
func mnistFiles(train, eval int) [2]idxFiles {
	return [2]idxFiles{
		{images: "train-images-idx3-ubyte", labels: "train-labels-idx1-ubyte", count: train},
		{images: "t10k-images-idx3-ubyte", labels: "t10k-labels-idx1-ubyte", count: eval},
	}
}

// decodeEmbedded reads the embedded set on its first use. It takes 30 ms, too
// short to be cancelled, and a caller's cancelled context must not be kept.
var decodeEmbedded = sync.OnceValues(func() (splits [2]*Set, err error) {
	f, err := embedded.find(&embedded, "")
	if err != nil {
		return splits, err
	}
	return embedded.read(context.Background(), f)
})

func (d *dataset) open(ctx context.Context, root string) (train, eval *Set, err error) {
	f, err := d.find(d, root)
	if err != nil {
		return nil, nil, err
	}
	var splits [2]*Set
	if d == &embedded {
		splits, err = decodeEmbedded()
	} else {
		splits, err = d.read(ctx, f)
	}
	return splits[0], splits[1], err
}

func (d *dataset) read(ctx context.Context, f folder) (splits [2]*Set, err error) {
	for i, files := range d.splits {
		if splits[i], err = files.read(ctx, f, &d.info.Spec); err != nil {
			return splits, err
		}
	}
	return splits, nil
}

// folder is where the files of a data set are.
type folder struct {
	name string // for messages
	open func(name string) (fs.File, error)
}

// findFolder is the first folder that has all files of the set, each as it is or
// with ".gz": the root if one is given, else one of the usual places.
func findFolder(d *dataset, root string) (folder, error) {
	places := []string{root}
	if root == "" {
		places = usualPlaces(d.info.Name)
	}
	var looked []string
	for _, dir := range places {
		paths := map[string]string{}
		var missing []string
		for _, s := range d.splits {
			for _, name := range []string{s.images, s.labels} {
				path, err := findFile(filepath.Join(dir, name))
				if err != nil {
					return folder{}, err
				}
				if path == "" {
					missing = append(missing, name+"[.gz]")
				}
				paths[name] = path
			}
		}
		if len(missing) == 0 {
			return folder{name: dir, open: func(name string) (fs.File, error) { return os.Open(paths[name]) }}, nil
		}
		switch info, err := os.Stat(dir); {
		case errors.Is(err, fs.ErrNotExist):
			looked = append(looked, dir+" does not exist")
		case err == nil && !info.IsDir():
			looked = append(looked, dir+" is not a folder")
		default:
			looked = append(looked, dir+" lacks "+strings.Join(missing, ", "))
		}
	}
	return folder{}, missingError(strings.Join(looked, "; ") + "; " + d.getIt)
}

// missingError says where files were looked for. It is fs.ErrNotExist.
type missingError string

func (e missingError) Error() string        { return string(e) }
func (e missingError) Is(target error) bool { return target == fs.ErrNotExist }

// findFile is the path of a file as it is or compressed, "" if there is neither.
func findFile(path string) (string, error) {
	for _, p := range []string{path, path + ".gz"} {
		_, err := os.Stat(p)
		if err == nil {
			return p, nil
		}
		// A root that is a file, not a folder, has no files in it.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return "", err
		}
	}
	return "", nil
}

// usualPlaces is where the files of a set are looked for: the user's own data
// folder (XDG base directories), then where Debian installs data sets.
func usualPlaces(name string) []string {
	var places []string
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // the XDG specification: ignore relative paths
		data = ""
		if home, err := os.UserHomeDir(); err == nil {
			data = filepath.Join(home, ".local", "share")
		}
	}
	if data != "" {
		places = append(places, filepath.Join(data, "hatchery", name))
	}
	return append(places, filepath.Join("/usr/share/datasets", name))
}
