package fetch

import (
	"fmt"
	"strings"
)

// File describes one file of a data set on its maker's server.
type File struct {
	Set    string // name of the data set
	Name   string // of the file
	URL    string
	Size   int64  // bytes
	SHA256 string // in hexadecimal

	// Unpack is the folder in a tar.gz, which is unpacked next to the archive; empty
	// for other files. Unpacked limits the bytes of the unpacked folder.
	Unpack   string
	Unpacked int64
}

// The checksums agree with those that others publish: for CIFAR, TensorFlow Datasets and
// torch-rb; for Fashion-MNIST, TensorFlow Datasets.
var known = []File{
	{
		Set: "cifar-10", Name: "cifar-10-binary.tar.gz",
		URL:  "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
		Size: 170052171, SHA256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
		Unpack: "cifar-10-batches-bin", Unpacked: 200 << 20,
	},
	{
		Set: "cifar-100", Name: "cifar-100-binary.tar.gz",
		URL:  "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
		Size: 168513733, SHA256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
		Unpack: "cifar-100-binary", Unpacked: 200 << 20,
	},
	fashion("train-images-idx3-ubyte.gz", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
	fashion("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
	fashion("t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
	fashion("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
}

// fashion returns a file of Fashion-MNIST. Its server has no HTTPS; the checksums ensure
// that the files are the right ones.
func fashion(name string, size int64, sum string) File {
	return File{
		Set: "fashion-mnist", Name: name, Size: size, SHA256: sum,
		URL: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/" + name,
	}
}

// Files returns the files of a data set. If it cannot be fetched, the error lists the
// sets that can.
func Files(set string) ([]File, error) {
	var files []File
	var names []string
	for _, f := range known {
		if f.Set == set {
			files = append(files, f)
		}
		if len(names) == 0 || names[len(names)-1] != f.Set {
			names = append(names, f.Set)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("data set %q cannot be fetched; those that can are %s", set, strings.Join(names, ", "))
	}
	return files, nil
}

// address returns the URL of the file.
func (f *File) address(mirror string) string {
	if mirror == "" {
		return f.URL
	}
	return strings.TrimSuffix(mirror, "/") + "/" + f.Set + "/" + f.Name
}
