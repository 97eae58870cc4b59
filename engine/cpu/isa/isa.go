// Package isa detects which vector instructions this CPU has and selects those that the
// CPU kernels use. All levels compute the same bits; they differ only in speed.
package isa

import (
	"fmt"
	"os"
	"sync/atomic"
)

// Level is an instruction set for which there are kernels. A CPU that supports a level
// supports all lower ones.
type Level int32

// Levels, slowest first.
const (
	Go     Level = iota // plain Go, on every architecture
	AVX2                // AVX2 with FMA and BMI2: 8 float32 at a time
	AVX512              // also AVX-512F: 16 float32 at a time
)

var names = [...]string{"go", "avx2", "avx512"}

func (l Level) String() string { return names[l] }

// Env is the environment variable that lowers the level at start to go, avx2 or avx512.
// An unknown or unsupported value is ignored.
const Env = "HATCHERY_ISA"

var (
	best    = detect()
	current atomic.Int32
)

func init() {
	current.Store(int32(best))
	for l, name := range names {
		if os.Getenv(Env) == name && Level(l) <= best {
			current.Store(int32(l))
		}
	}
}

// Best returns the highest level that this CPU supports.
func Best() Level { return best }

// Current returns the level that kernels use.
func Current() Level { return Level(current.Load()) }

// Use sets the level that kernels use and returns the previous one. A gemm.Plan keeps the
// level under which it was made.
func Use(l Level) (before Level, err error) {
	if l < Go || l > best {
		return Current(), fmt.Errorf("isa: this CPU does not support level %d; the highest is %d (%v)", int(l), int(best), best)
	}
	return Level(current.Swap(int32(l))), nil
}
