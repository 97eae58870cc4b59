//go:build !gpu

package cuda

import "hatchery/engine/backend"

// Built reports whether this binary has GPU support.
const Built = false

// Count returns the number of GPUs that can be used, with the reason if that is 0.
func Count() (int, error) { return 0, ErrNotBuilt }

// Names is what Info calls the backend of these GPUs, which are not opened.
func Names(gpus []int) (string, error) { return "", ErrNotBuilt }

// capacity returns how much memory a GPU has, bytes; 0: it is not known.
func capacity(int) int64 { return 0 }

// Open opens GPUs as one backend.
func Open(gpus []int) (backend.Backend, error) { return nil, ErrNotBuilt }
