//go:build gpu

package cuda

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"hatchery/engine/backend"
	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/nvml"
)

// tuner chooses how the matrix products of a program are computed. Often there are several
// ways, whose results differ in the last bits: cublasLt offers several algorithms, and an
// epilogue can be part of the product or a separate kernel. Which way is the fastest
// depends on the card, so a tuner times them. Since a resumed stage has to give the same
// bits, the tuner stores its choices with the run.
//
// If it cannot store them, it times nothing: every product uses cublasLt's first algorithm,
// with its epilogue if that is supported.
type tuner struct {
	gpu   *gpu
	blas  *blas.Handle
	known map[blas.Gemm]bool // whether the library supports a product

	store   backend.Tunings
	file    []*tuning         // of the job's stages, one for each kind of card
	current *tuning           // the element of file for this kind of card
	others  map[string]choice // of other stages on this kind of card, by product

	retuned  bool          // current has choices that were not in the file
	timed    []choice      // made by timing in this process
	duration time.Duration // of timing
	untimed  int           // products that were not timed for lack of memory
	unusable int           // stored choices that the library does not support
	err      error         // of timing
}

// tuning holds the choices for one kind of card and one version of cuBLAS.
type tuning struct {
	Card     string            `json:"card"`
	CuBLAS   string            `json:"cublas"`
	Driver   string            `json:"driver"`
	Products map[string]choice `json:"products"` // by blas.Gemm.String
}

func (t *tuning) sameKind(u *tuning) bool { return t.Card == u.Card && t.CuBLAS == u.CuBLAS }

// choice is the way to compute a product, with the times that it was chosen by. Times are
// medians in microseconds, or 0 if nothing was timed.
type choice struct {
	Algorithm   blas.Algorithm `json:"algorithm"`
	Number      int            `json:"number"`            // of the algorithm in cublasLt's list, from 1
	Unfused     bool           `json:"unfused,omitempty"` // the epilogue is a separate kernel
	Time        float64        `json:"us"`                // with the algorithm and the epilogue
	First       float64        `json:"first_us"`          // with cublasLt's first algorithm
	UnfusedTime float64        `json:"unfused_us,omitempty"`
}

// newTuner reads the stored choices. The caller must call close.
func (g *gpu) newTuner(store backend.Tunings) (*tuner, error) {
	t := &tuner{gpu: g, store: store, known: map[blas.Gemm]bool{}, others: map[string]choice{}}
	err := g.Do(func(c *driver.Context) (err error) {
		t.blas, err = blas.New(c, g.queue)
		return err
	})
	if err != nil {
		return nil, err
	}
	if store != nil {
		if err := t.load(); err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

// close releases the tuner's memory. Later calls return an error of the device too.
func (t *tuner) close() { _ = t.gpu.Do(func(*driver.Context) error { return t.blas.Destroy() }) }

// load reads the tunings of the job's stages and of others.
func (t *tuner) load() error {
	current := &tuning{Card: t.gpu.Name, CuBLAS: blas.Version(), Driver: driverVersion(), Products: map[string]choice{}}
	own, others, err := t.store.Load()
	if err != nil {
		return err
	}
	if t.file, err = readTunings(own); err != nil {
		return err
	}
	for _, o := range others {
		all, err := readTunings(o)
		if err != nil {
			return err
		}
		for _, u := range all {
			if !u.sameKind(current) {
				continue
			}
			for name, c := range u.Products {
				if _, ok := t.others[name]; !ok && c.Time > 0 { // the earliest stage wins
					t.others[name] = c
				}
			}
		}
	}
	if i := slices.IndexFunc(t.file, current.sameKind); i >= 0 {
		t.current = t.file[i]
		return nil
	}
	t.current = current
	t.file = append(t.file, current)
	return nil
}

// readTunings parses a file of tunings. A file that does not exist has none.
func readTunings(f backend.Tuning) (all []*tuning, err error) {
	if f.Data == nil {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(f.Data))
	d.DisallowUnknownFields()
	err = d.Decode(&all)
	if err == nil {
		if _, tail := d.Token(); tail != io.EOF {
			err = errors.New("it has data after its end")
		}
	}
	if err == nil && (len(all) == 0 || slices.ContainsFunc(all, func(t *tuning) bool { return t == nil || len(t.Products) == 0 })) {
		err = errors.New("a tuning has no products")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; delete it to choose kernels again, which changes results in the last bits", f.Path, err)
	}
	return all, nil
}

// driverVersion returns the version of the driver, or without NVML the version of CUDA that
// it supports.
func driverVersion() string {
	if v, err := nvml.DriverVersion(); err == nil {
		return v
	}
	return "for CUDA " + driver.Version(driver.CUDA())
}

// exists reports whether the library supports a product with its epilogue.
func (t *tuner) exists(g blas.Gemm) bool {
	ok, known := t.known[g]
	if !known {
		ok = t.gpu.Do(func(*driver.Context) error {
			_, err := t.blas.Algorithms(g)
			return err
		}) == nil
		t.known[g] = ok
	}
	return ok
}

// supports reports whether a step should use a product with its epilogue.
func (t *tuner) supports(g blas.Gemm) bool {
	if !t.exists(g) {
		return false
	}
	if t.store == nil || t.err != nil {
		return true
	}
	c, err := t.choose(g)
	t.err = err
	return err != nil || !c.Unfused
}

// finish chooses the algorithms of a program's products and stores the choices. It returns
// nil if nothing is timed: see newExecutor.
func (t *tuner) finish(products []blas.Gemm) (map[blas.Gemm]blas.Algorithm, error) {
	if t.store == nil {
		return nil, nil
	}
	algorithms := map[blas.Gemm]blas.Algorithm{}
	for _, g := range products {
		c, err := t.choose(g)
		if err != nil {
			return nil, err
		}
		algorithms[g] = c.Algorithm
	}
	if !t.retuned {
		return algorithms, nil
	}
	var data bytes.Buffer
	e := json.NewEncoder(&data)
	e.SetEscapeHTML(false) // names of products contain ->
	e.SetIndent("", " ")
	if err := e.Encode(t.file); err != nil {
		return nil, err
	}
	return algorithms, t.store.Save(data.Bytes())
}

// remarks returns messages for the user.
func (t *tuner) remarks() []string {
	var remarks []string
	if t.unusable > 0 {
		remarks = append(remarks, fmt.Sprintf("does not support the stored algorithms of %d of its matrix products, and chooses others for them", t.unusable))
	}
	if t.untimed > 0 {
		remarks = append(remarks, fmt.Sprintf("has not enough free memory to time %d of its matrix products: cublasLt's first algorithm computes them", t.untimed))
	}
	if len(t.timed) == 0 {
		return remarks
	}
	others, unfused := 0, 0
	for _, c := range t.timed {
		if c.Number > 1 {
			others++
		}
		if c.Unfused {
			unfused++
		}
	}
	return append(remarks, fmt.Sprintf("timed its matrix products (%d new) in %.1f s; %d use another algorithm than cublasLt's first, %d a separate kernel for the epilogue",
		len(t.timed), t.duration.Seconds(), others, unfused))
}

// choose returns the way to compute a product: the stored one, that of another stage, or
// the fastest by timing.
func (t *tuner) choose(g blas.Gemm) (choice, error) {
	name := g.String()
	c, found := t.current.Products[name]
	if found && t.usable(g, c) {
		return c, nil
	}
	if found {
		t.unusable++
	}
	c, found = t.others[name]
	if !found || !t.usable(g, c) {
		var err error
		if c, err = t.time(g); err != nil {
			return c, err
		}
		if c.Time > 0 {
			t.timed = append(t.timed, c)
		}
	}
	t.current.Products[name] = c
	t.retuned = true
	return c, nil
}

// usable reports whether the library supports the algorithm of a choice.
func (t *tuner) usable(g blas.Gemm, c choice) (ok bool) {
	err := t.gpu.Do(func(*driver.Context) error { ok = t.blas.Has(g, c.Algorithm); return nil })
	return ok && err == nil
}

// faster is the largest ratio of times at which another way is chosen over the default:
// timing is no more exact than that.
const faster = 0.97

// time times the ways to compute a product, with a cold cache as in a step.
func (t *tuner) time(g blas.Gemm) (choice, error) {
	var algorithms []blas.Algorithm
	err := t.gpu.Do(func(*driver.Context) (err error) {
		algorithms, err = t.blas.Algorithms(g)
		return err
	})
	if errors.Is(err, blas.ErrUnsupported) { // cuBLAS computes it
		return choice{}, nil
	}
	if err != nil {
		return choice{}, err
	}
	first := choice{Algorithm: algorithms[0], Number: 1}
	other, hasOther := unfused(g)
	if hasOther = hasOther && t.exists(other.product); len(algorithms) == 1 && !hasOther || !g.Dense() || g.Batch > 1 {
		return first, nil
	}
	var plain choice
	if hasOther {
		if plain, err = t.choose(other.product); err != nil {
			return choice{}, err
		}
	}
	var times []time.Duration
	start := time.Now()
	err = t.gpu.Do(func(c *driver.Context) error {
		o, err := t.gpu.newOperands(c, g, other.scratch)
		if err != nil {
			return err
		}
		defer o.free(c)
		var ways []func() error
		for _, a := range algorithms {
			p, err := t.blas.PlanWith(g, a)
			if err != nil {
				return err
			}
			ways = append(ways, func() error { return o.run(p) })
		}
		if hasOther {
			way, err := t.unfusedWay(o, other, plain)
			if err != nil {
				return err
			}
			ways = append(ways, way)
		}
		times, err = race(c, t.gpu.queue, ways)
		return err
	})
	if errors.Is(err, driver.OutOfMemory) {
		t.untimed++
		return first, nil
	}
	if err != nil {
		return choice{}, fmt.Errorf("timing ways to compute the product %v: %w", g, err)
	}
	t.duration += time.Since(start)
	fused := times[:len(algorithms)]
	best := 0
	for i, d := range fused {
		if float64(d) < faster*float64(fused[0]) && d < fused[best] {
			best = i
		}
	}
	chosen := choice{Algorithm: algorithms[best], Number: best + 1, Time: microseconds(fused[best]), First: microseconds(fused[0])}
	if hasOther {
		chosen.UnfusedTime = microseconds(times[len(algorithms)])
		chosen.Unfused = chosen.UnfusedTime < faster*chosen.Time
	}
	return chosen, nil
}

// unfusedWay returns a function that runs a product without its epilogue and then the
// kernels that compute the epilogue.
func (t *tuner) unfusedWay(o *operands, other alternative, plain choice) (func() error, error) {
	p, err := t.blas.PlanWith(other.product, plain.Algorithm)
	if err != nil {
		return nil, err
	}
	var work []command
	for _, l := range other.launches {
		w, err := t.gpu.launch(t.gpu.queue, l, &o.store)
		if err != nil {
			return nil, err
		}
		work = append(work, w)
	}
	return func() error {
		if err := o.run(p); err != nil {
			return err
		}
		for i := range work {
			if err := work[i].submit(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
