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

// tuner decides how the matrix products of a program are computed. Often there
// are several ways, with results that differ in the last bits: the algorithms
// that cublasLt names, and a product's epilogue or a kernel of its own. Which is
// the fastest depends on the card, so a tuner times them; and since a stage has
// to give the same bits when it is resumed, it keeps what it chose with the run.
//
// Without a place to keep that, nothing is timed: a product is computed by
// cublasLt's first algorithm, with its epilogue wherever that can be had.
type tuner struct {
	gpu   *gpu
	blas  *blas.Handle
	known map[blas.Gemm]bool // whether the library has a product

	keep   backend.Tunings
	file   []*tuning         // of the job's stages, one for each kind of card
	own    *tuning           // the one of this kind
	others map[string]choice // of other stages on this kind, by product

	anew     bool     // own has choices that were not in its file
	timed    []choice // in this process, and how long that took
	took     time.Duration
	untimed  int   // products that there was no memory to time
	unusable int   // choices that the library has no use for
	err      error // of timing
}

// tuning is what was chosen on cards of one kind with one version of cuBLAS.
type tuning struct {
	Card     string            `json:"card"`
	CuBLAS   string            `json:"cublas"`
	Driver   string            `json:"driver"`
	Products map[string]choice `json:"products"` // by blas.Gemm.String
}

func (t *tuning) sameKind(u *tuning) bool { return t.Card == u.Card && t.CuBLAS == u.CuBLAS }

// choice is how a product is computed, and what that was chosen from. Times are
// medians in microseconds, 0 where nothing was timed.
type choice struct {
	Algorithm   blas.Algorithm `json:"algorithm"`
	Number      int            `json:"number"`            // of the algorithm in cublasLt's list, from 1
	Unfused     bool           `json:"unfused,omitempty"` // the epilogue is left to a kernel of its own
	Time        float64        `json:"us"`                // with the algorithm and the epilogue
	First       float64        `json:"first_us"`          // with cublasLt's first algorithm
	UnfusedTime float64        `json:"unfused_us,omitempty"`
}

// newTuner reads what was chosen before. close gives the tuner back.
func (g *gpu) newTuner(keep backend.Tunings) (*tuner, error) {
	t := &tuner{gpu: g, keep: keep, known: map[blas.Gemm]bool{}, others: map[string]choice{}}
	err := g.Do(func(c *driver.Context) (err error) {
		t.blas, err = blas.New(c, g.queue)
		return err
	})
	if err != nil {
		return nil, err
	}
	if keep != nil {
		if err := t.load(); err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

// close releases what timing took. CUDA returns an error of it from later calls too.
func (t *tuner) close() { _ = t.gpu.Do(func(*driver.Context) error { return t.blas.Destroy() }) }

// load reads the tunings of the job's stages and of others.
func (t *tuner) load() error {
	here := &tuning{Card: t.gpu.Name, CuBLAS: blas.Version(), Driver: driverVersion(), Products: map[string]choice{}}
	own, others, err := t.keep.Load()
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
			if !u.sameKind(here) {
				continue
			}
			for name, c := range u.Products {
				if _, ok := t.others[name]; !ok && c.Time > 0 { // the first stage's, in their order
					t.others[name] = c
				}
			}
		}
	}
	if i := slices.IndexFunc(t.file, here.sameKind); i >= 0 {
		t.own = t.file[i]
		return nil
	}
	t.own = here
	t.file = append(t.file, here)
	return nil
}

// readTunings reads a file of tunings; one that is not there holds none.
func readTunings(f backend.Tuning) (all []*tuning, err error) {
	if f.Data == nil {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(f.Data))
	d.DisallowUnknownFields()
	err = d.Decode(&all)
	if err == nil {
		if _, after := d.Token(); after != io.EOF {
			err = errors.New("there is more behind its end")
		}
	}
	if err == nil && (len(all) == 0 || slices.ContainsFunc(all, func(t *tuning) bool { return t == nil || len(t.Products) == 0 })) {
		err = errors.New("a tuning without products")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; delete it to have kernels chosen anew, which changes results in the last bits", f.Path, err)
	}
	return all, nil
}

// driverVersion returns the driver's version, or if NVML does not tell, that of CUDA.
func driverVersion() string {
	if v, err := nvml.DriverVersion(); err == nil {
		return v
	}
	return "for CUDA " + driver.Version(driver.CUDA())
}

// exists reports whether the library has a product with its epilogue.
func (t *tuner) exists(g blas.Gemm) bool {
	ok, asked := t.known[g]
	if !asked {
		ok = t.gpu.Do(func(*driver.Context) error {
			_, err := t.blas.Algorithms(g)
			return err
		}) == nil
		t.known[g] = ok
	}
	return ok
}

// supports reports whether a step is to use a product with its epilogue.
func (t *tuner) supports(g blas.Gemm) bool {
	if !t.exists(g) {
		return false
	}
	if t.keep == nil || t.err != nil {
		return true
	}
	c, err := t.choose(g)
	t.err = err
	return err != nil || !c.Unfused
}

// finish chooses the algorithms of a program's products and saves what was
// chosen. Without timing there are none: see newExecutor.
func (t *tuner) finish(products []blas.Gemm) (map[blas.Gemm]blas.Algorithm, error) {
	if t.keep == nil {
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
	if !t.anew {
		return algorithms, nil
	}
	var data bytes.Buffer
	e := json.NewEncoder(&data)
	e.SetEscapeHTML(false) // names of products have a ->
	e.SetIndent("", " ")
	if err := e.Encode(t.file); err != nil {
		return nil, err
	}
	return algorithms, t.keep.Save(data.Bytes())
}

// remarks say what was found out, for people.
func (t *tuner) remarks() []string {
	var said []string
	if t.unusable > 0 {
		said = append(said, fmt.Sprintf("has no use for the algorithms that were kept for %d of its matrix products, and chooses anew for them", t.unusable))
	}
	if t.untimed > 0 {
		said = append(said, fmt.Sprintf("has no memory free to time %d of its matrix products: cublasLt's first algorithm computes them", t.untimed))
	}
	if len(t.timed) == 0 {
		return said
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
	return append(said, fmt.Sprintf("timed its matrix products (new ones: %d) in %.1f s; by another algorithm than cublasLt's first: %d, with a separate kernel for the epilogue: %d",
		len(t.timed), t.took.Seconds(), others, unfused))
}

// choose says how a product is computed: as before, as in another stage, or as
// timing tells.
func (t *tuner) choose(g blas.Gemm) (choice, error) {
	name := g.String()
	c, found := t.own.Products[name]
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
	t.own.Products[name] = c
	t.anew = true
	return c, nil
}

// usable reports whether the library has the algorithm of a choice.
func (t *tuner) usable(g blas.Gemm, c choice) (ok bool) {
	err := t.gpu.Do(func(*driver.Context) error { ok = t.blas.Has(g, c.Algorithm); return nil })
	return ok && err == nil
}

// better is how much faster than the plain way another has to be to be chosen:
// timing is not more exact than that.
const better = 0.97

// time times the ways to compute a product, in a step's memory conditions.
func (t *tuner) time(g blas.Gemm) (choice, error) {
	var algorithms []blas.Algorithm
	err := t.gpu.Do(func(*driver.Context) (err error) {
		algorithms, err = t.blas.Algorithms(g)
		return err
	})
	if errors.Is(err, blas.ErrUnsupported) { // left to cuBLAS
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
	began := time.Now()
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
			way, err := t.wayUnfused(o, other, plain)
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
	t.took += time.Since(began)
	fused := times[:len(algorithms)]
	best := 0
	for i, took := range fused {
		if float64(took) < better*float64(fused[0]) && took < fused[best] {
			best = i
		}
	}
	chosen := choice{Algorithm: algorithms[best], Number: best + 1, Time: microseconds(fused[best]), First: microseconds(fused[0])}
	if hasOther {
		chosen.UnfusedTime = microseconds(times[len(algorithms)])
		chosen.Unfused = chosen.UnfusedTime < better*chosen.Time
	}
	return chosen, nil
}

// wayUnfused returns a product without its epilogue, then the kernels that do the rest.
func (t *tuner) wayUnfused(o *operands, other alternative, plain choice) (func() error, error) {
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
