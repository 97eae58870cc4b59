//go:build !gpu

package inventory

import "errors"

// ErrNoSupport is why a binary without the tag gpu finds nothing.
var ErrNoSupport = errors.New("this binary was built without GPU support: make gpu builds one with it, which needs a C compiler and no CUDA toolkit")

// Look answers that this binary cannot look.
func Look() Report { return Report{Driver: Found{Err: ErrNoSupport}} }
