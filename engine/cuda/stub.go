//go:build !gpu

package cuda

import "hatchery/engine/backend"

// Built reports whether this binary has GPU support.
const Built = false

// Count returns the number of usable GPUs, or 0 and the reason.
func Count() (int, error) { return 0, ErrNotBuilt }

// Names returns the name in Info of a backend of these GPUs, without opening them.
func Names(gpus []int) (string, error) { return "", ErrNotBuilt }

// capacity returns the memory of a GPU in bytes, or 0 if it is unknown.
func capacity(int) int64 { return 0 }

// Open opens GPUs as one backend.
func Open(gpus []int) (backend.Backend, error) { return nil, ErrNotBuilt }
