//go:build !gpu

package inventory

import "errors"

// ErrNoSupport is the error in reports of binaries without the tag gpu.
var ErrNoSupport = errors.New("this binary was built without GPU support: make gpu builds one with it, which needs a C compiler and no CUDA toolkit")

// Look returns a report with ErrNoSupport.
func Look() Report { return Report{Driver: Found{Err: ErrNoSupport}} }
