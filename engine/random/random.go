// Package random makes every random number of a run a function of what it is
// for: the run's seed, a purpose, and counters such as epoch, step or sample.
//
// A stream never depends on what was drawn before it elsewhere, so results do
// not change with the number of threads, the order of work or a restart.
package random

import (
	"math/rand/v2"
)

// Stream is a generator that can be pointed at any key without allocating.
// The zero value must be Reset before use, a Stream must not be copied, and it
// is not safe for concurrent use.
type Stream struct {
	rand.Rand
	pcg rand.PCG
}

// New returns a stream at the given key.
func New(seed uint64, purpose string, counters ...uint64) *Stream {
	s := new(Stream)
	s.Reset(seed, purpose, counters...)
	return s
}

// Reset points the stream at the first number of the given key.
func (s *Stream) Reset(seed uint64, purpose string, counters ...uint64) {
	// FNV-1a over the purpose, then each word through SplitMix64's finalizer.
	h := uint64(14695981039346656037)
	for i := range len(purpose) {
		h = (h ^ uint64(purpose[i])) * 1099511628211
	}
	a, b := mix(seed^h), mix(h+0x9e3779b97f4a7c15*(seed+1))
	for _, c := range counters {
		a = mix(a + 0x9e3779b97f4a7c15 + c)
		b = mix(b ^ mix(c+0xd1b54a32d192ed03))
	}
	s.pcg.Seed(a, b)
	s.Rand = *rand.New(&s.pcg)
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Source gives the stream as a rand.Source, for distributions that want one.
func (s *Stream) Source() rand.Source { return &s.pcg }
