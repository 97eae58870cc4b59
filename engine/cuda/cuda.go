// Package cuda is the backend of NVIDIA GPUs. It is built with the tag gpu;
// without it the package says that there is no GPU to be had.
package cuda

import "errors"

// ErrNotBuilt is the error of every use of a GPU by a binary without the tag.
var ErrNotBuilt = errors.New("this binary was built without GPU support; build it with: make gpu")
