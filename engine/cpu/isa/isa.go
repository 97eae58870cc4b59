// Package isa says which vector instructions this processor has and which the
// CPU kernels use. Every level computes the same bits; only the speed differs.
package isa

import (
	"fmt"
	"os"
	"sync/atomic"
)

// Level is an instruction set that the kernels are written for. A processor
// that has one has all the smaller ones.
type Level int32

// Levels, slowest first.
const (
	Go     Level = iota // plain Go, on every architecture
	AVX2                // AVX2 with FMA and BMI2: 8 float32 at a time
	AVX512              // AVX-512F besides: 16 float32 at a time
)

var names = [...]string{"go", "avx2", "avx512"}

func (l Level) String() string { return names[l] }

// Env names the environment variable that lowers the level at start, to one
// of go, avx2 and avx512. An unknown or unsupported value is ignored.
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

// Best is the highest level this processor has.
func Best() Level { return best }

// Current is the level that kernels use.
func Current() Level { return Level(current.Load()) }

// Use makes kernels use level l from now on and returns the level before.
// A gemm.Plan keeps the level under which it was made.
func Use(l Level) (before Level, err error) {
	if l < Go || l > best {
		return Current(), fmt.Errorf("isa: level %d is not supported here; the best is %d (%v)", int(l), int(best), best)
	}
	return Level(current.Swap(int32(l))), nil
}
