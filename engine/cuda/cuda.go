// Package cuda is the backend of NVIDIA GPUs. It needs the build tag gpu; without the tag
// its functions return ErrNotBuilt.
package cuda

import "errors"

// ErrNotBuilt is the error of a binary that was built without the tag.
var ErrNotBuilt = errors.New("this binary was built without GPU support; build it with: make gpu")
