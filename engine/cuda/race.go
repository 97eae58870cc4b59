//go:build gpu

package cuda

import (
	"errors"
	"slices"
	"time"

	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/random"
)

// The operands of a product, as IDs of a kernels.Buffer.
const (
	inA = 1 + iota
	inB
	outD
	biasOrSums
	inAux
	outUnfused
	scratchUnfused
)

// alternative is a product without its epilogue, and the kernels that compute the epilogue.
type alternative struct {
	product  blas.Gemm
	launches []kernels.Launch
	scratch  int // bytes
}

// unfused returns the alternative to a product with an epilogue, as package lower uses it,
// and whether there is one.
func unfused(g blas.Gemm) (alternative, bool) {
	at := func(id int32) kernels.Buffer { return kernels.Buffer{ID: id} }
	plain := g
	switch g.Epilogue {
	case blas.SumA:
		if !g.TransA {
			return alternative{}, false
		}
		plain.Epilogue = blas.None
		k := kernels.ColumnSum{T: g.A, Rows: g.K, Width: g.M, Y: at(biasOrSums), X: at(inA), Scratch: at(scratchUnfused)}
		return alternative{plain, k.Launches(), k.ScratchBytes()}, true
	case blas.GeluBias, blas.GeluAuxBias:
		plain.Epilogue = blas.Bias
		return alternative{plain, []kernels.Launch{kernels.GELU(g.D, g.M*g.N, 0, at(outUnfused), at(outD), kernels.Buffer{})}, 0}, true
	case blas.DGelu:
		plain.Epilogue = blas.None
		return alternative{plain, []kernels.Launch{kernels.GELUBackward(g.D, g.M*g.N, 0, at(outUnfused), at(inAux), kernels.Buffer{}, at(outD))}, 0}, true
	}
	return alternative{}, false
}

// operands is memory for a product and its alternative, filled with random numbers: with
// zeros a card is faster than with real data.
type operands struct{ store }

func (g *gpu) newOperands(c *driver.Context, m blas.Gemm, scratch int) (*operands, error) {
	o := &operands{}
	for id, bytes := range map[int32]int{
		inA: m.M * m.K * m.A.Size(), inB: m.K * m.N * m.B.Size(), outD: m.M * m.N * m.D.Size(), inAux: m.M * m.N * m.D.Size(),
		outUnfused: m.M * m.N * m.D.Size(), biasOrSums: max(m.M, m.N) * kernels.F32.Size(), scratchUnfused: scratch,
	} {
		p, err := o.alloc(c, g.queue, int64(bytes))
		if err == nil {
			err = noise(g.queue, p, int64(bytes))
		}
		if err != nil {
			o.free(c)
			return nil, err
		}
		o.regions[id] = p
	}
	return o, nil
}

// run puts a product of the operands into the plan's stream.
func (o *operands) run(p *blas.Plan) error {
	return p.Run(o.regions[inA], o.regions[inB], o.regions[outD], o.regions[biasOrSums], o.regions[inAux])
}

// noise fills memory of an even size with numbers whose magnitude is between 1 and 2, with
// random signs, in both bfloat16 and float32.
func noise(s *driver.Stream, p driver.Ptr, bytes int64) error {
	const block = 1 << 16
	values := make([]uint16, min(block, bytes)/2)
	r := random.New(1, "noise")
	for i := range values {
		values[i] = uint16(0x3f80 | r.Uint64()&0x807f)
	}
	if err := driver.Upload(s, p, values); err != nil {
		return err
	}
	for n := int64(block); n < bytes; n *= 2 {
		if err := s.CopyOnDevice(p+driver.Ptr(n), p, min(n, bytes-n)); err != nil {
			return err
		}
	}
	return nil
}

// race times several ways to do the same and returns the median of each. It alternates
// between them, so that changes of the clock affect all, and each starts with a cold L2
// cache, as in a step. Ways that are much slower than the fastest drop out early.
func race(c *driver.Context, s *driver.Stream, ways []func() error) (times []time.Duration, err error) {
	const rounds = 5 // after one to warm up
	const tooSlow = 1.5
	flush := 2 * c.Info().L2
	scratch, err := c.Alloc(flush)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Free(scratch)) }()
	type lap struct{ from, to *driver.Event }
	laps := make([]lap, len(ways))
	defer func() {
		for _, l := range laps {
			for _, e := range []*driver.Event{l.from, l.to} {
				if e != nil {
					e.Destroy()
				}
			}
		}
	}()
	for i := range laps {
		if laps[i].from, err = c.Event(true); err != nil {
			return nil, err
		}
		if laps[i].to, err = c.Event(true); err != nil {
			return nil, err
		}
	}
	all := make([][]time.Duration, len(ways))
	for round := range 1 + rounds {
		best := time.Duration(0)
		for _, t := range all {
			if len(t) > 0 && (best == 0 || slices.Min(t) < best) {
				best = slices.Min(t)
			}
		}
		droppedOut := func(i int) bool {
			return len(all[i]) > 0 && float64(slices.Min(all[i])) > tooSlow*float64(best)
		}
		for i, way := range ways {
			if droppedOut(i) {
				continue
			}
			err := errors.Join(s.Zero(scratch, flush), s.Record(laps[i].from), way(), s.Record(laps[i].to))
			if err != nil {
				return nil, err
			}
		}
		if err := s.Synchronize(); err != nil {
			return nil, err
		}
		for i := range ways {
			if round == 0 || droppedOut(i) {
				continue
			}
			took, err := laps[i].to.Elapsed(laps[i].from)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], max(took, 1))
		}
	}
	for _, t := range all {
		slices.Sort(t)
		times = append(times, t[len(t)/2])
	}
	return times, nil
}
