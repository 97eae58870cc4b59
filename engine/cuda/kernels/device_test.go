//go:build gpu

package kernels_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"unsafe"

	"hatchery/engine/cpu/reference"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
	"hatchery/engine/graph"
	"hatchery/engine/random"
)

// opened is a device with the kernels on it, which all tests share.
type opened struct {
	*driver.Device
	s         *driver.Stream
	m         *driver.Module
	functions map[string]driver.Function
}

var card = emulation.Share(func() (*opened, *driver.Device, error) {
	d, err := driver.Open(0)
	if err != nil {
		return nil, nil, err
	}
	o := &opened{Device: d, functions: map[string]driver.Function{}}
	err = d.Do(func(c *driver.Context) (err error) {
		if o.m, err = c.Module(kernels.PTX); err != nil {
			return err
		}
		o.s, err = c.Stream()
		return err
	})
	if err != nil {
		d.Close()
	}
	return o, d, err
}, func(o *opened) {
	o.Do(func(*driver.Context) error { o.s.Destroy(); return o.m.Unload() })
	o.Close()
})

func TestMain(m *testing.M) { os.Exit(emulation.Main(m)) }

// device runs launches for a test. Around every buffer lie guard bytes, which
// run finds changed if a kernel writes outside.
type device struct {
	*testing.T
	*opened
	c       *driver.Context
	buffers []allocation // by ID-1

	worst struct { // error beside its limit
		share float64
		what  string
	}
}

type allocation struct {
	at    driver.Ptr // of the guard before the buffer
	bytes int        // of the buffer
}

const guard = 256

var guardBytes = bytes.Repeat([]byte{0xa5}, guard)

// on runs a test on the device.
func on(t *testing.T, f func(d *device)) {
	t.Helper()
	emulation.Start(t, "all.cu")
	o := card.Get(t)
	err := o.Do(func(c *driver.Context) error {
		d := &device{T: t, opened: o, c: c}
		defer d.free()
		defer d.report()
		f(d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// must ends the test after an error, and with it the device's thread.
func (d *device) must(err error) {
	if err != nil {
		d.Helper()
		d.Fatal(err)
	}
}

// free gives back all buffers.
func (d *device) free() {
	for len(d.buffers) > 0 {
		last := len(d.buffers) - 1
		b := d.buffers[last]
		d.buffers = d.buffers[:last] // a failure must not try again
		d.must(d.c.Free(b.at))
	}
}

// alloc makes a buffer of undefined content.
func (d *device) alloc(bytes int) kernels.Buffer {
	p, err := d.c.Alloc(int64(bytes + 2*guard))
	d.must(err)
	d.must(driver.Upload(d.s, p, guardBytes))
	d.must(driver.Upload(d.s, p+guard+driver.Ptr(bytes), guardBytes))
	d.buffers = append(d.buffers, allocation{p, bytes})
	return kernels.Buffer{ID: int32(len(d.buffers))}
}

func (d *device) address(b kernels.Buffer) driver.Ptr {
	if b.IsNull() {
		return 0
	}
	return d.buffers[b.ID-1].at + guard + driver.Ptr(b.Offset)
}

// put makes a buffer with the given content.
func put[T any](d *device, v []T) kernels.Buffer {
	var t T
	b := d.alloc(len(v) * int(unsafe.Sizeof(t)))
	d.must(driver.Upload(d.s, d.address(b), v))
	return b
}

// write replaces the beginning of a buffer.
func write[T any](d *device, b kernels.Buffer, v []T) { d.must(driver.Upload(d.s, d.address(b), v)) }

// get reads n elements of a buffer.
func get[T any](d *device, b kernels.Buffer, n int) []T {
	v := make([]T, n)
	d.must(driver.Download(d.s, v, d.address(b)))
	return v
}

// store makes a buffer of t; v are numbers that t holds exactly.
func (d *device) store(t kernels.DType, v []float64) kernels.Buffer {
	if t == kernels.F32 {
		return put(d, narrow(v))
	}
	b := make([]uint16, len(v))
	for i, x := range v {
		b[i] = uint16(math.Float32bits(float32(x)) >> 16)
	}
	return put(d, b)
}

// out makes a buffer of n elements of t for a kernel to write.
func (d *device) out(t kernels.DType, n int) kernels.Buffer { return d.alloc(n * t.Size()) }

// load reads n elements of t.
func (d *device) load(t kernels.DType, b kernels.Buffer, n int) []float64 {
	if t == kernels.F32 {
		return widen(get[float32](d, b, n))
	}
	v := make([]float64, n)
	for i, x := range get[uint16](d, b, n) {
		v[i] = float64(math.Float32frombits(uint32(x) << 16))
	}
	return v
}

// run runs launches in their order and looks after the guards.
func (d *device) run(launches ...kernels.Launch) {
	d.Helper()
	for _, l := range launches {
		f, ok := d.functions[l.Kernel]
		if !ok {
			var err error
			f, err = d.m.Function(l.Kernel)
			d.must(err)
			d.functions[l.Kernel] = f
		}
		if l.Shared > 48<<10 {
			d.must(f.SetSharedLimit(int(l.Shared)))
		}
		args := make([]uint64, len(l.Args))
		for i, a := range l.Args {
			args[i] = a.Bits
			if a.Kind == kernels.Pointer {
				args[i] = uint64(d.address(a.Buffer))
			}
		}
		d.must(d.s.Launch(f, l.Grid, l.Block, l.Shared, args))
		d.must(d.s.Synchronize())
		for id, b := range d.buffers {
			for _, at := range []driver.Ptr{b.at, b.at + guard + driver.Ptr(b.bytes)} {
				v := make([]byte, guard)
				d.must(driver.Download(d.s, v, at))
				if !bytes.Equal(v, guardBytes) {
					d.Fatalf("%s writes outside buffer %d", l.Kernel, id+1)
				}
			}
		}
	}
}

// near wants an error of at most limit, relative in norm (package rounding).
func (d *device) near(what string, got, want []float64, limit float64) {
	d.Helper()
	if len(got) != len(want) {
		d.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	e := rounding.Distance(got, want)
	if e/limit >= d.worst.share || d.worst.what == "" {
		d.worst.share, d.worst.what = e/limit, fmt.Sprintf("%s: error %.1e of %.1e", what, e, limit)
	}
	if !(e <= limit) {
		d.Errorf("%s: relative error %.2e, at most %.2e", what, e, limit)
	}
}

// report logs the greatest error beside its limit.
func (d *device) report() {
	if d.worst.what != "" {
		d.Log("nearest to its limit: " + d.worst.what)
	}
}

// stored returns the error of storing as t what was computed in float32.
func stored(t kernels.DType) float64 {
	if t == kernels.F32 {
		return rounding.Unit(t)
	}
	return rounding.Unit(t) + rounding.Unit(kernels.F32)
}

// same wants the same bits, NaN included.
func (d *device) same(what string, got, want []float64) {
	d.Helper()
	if !slices.EqualFunc(got, want, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }) {
		d.Errorf("%s differ", what)
	}
}

var dtypes = []kernels.DType{kernels.F32, kernels.BF16}

// noise returns n numbers of deviation 1 that t holds exactly.
func noise(t kernels.DType, name string, n int) []float64 {
	s := random.New(1, name, uint64(n))
	v := make([]float64, n)
	for i := range v {
		v[i] = round(t, s.NormFloat64())
	}
	return v
}

// round returns the nearest number that t holds, the even one of two.
func round(t kernels.DType, v float64) float64 {
	f := float32(v)
	if t == kernels.BF16 && f == f {
		u := math.Float32bits(f)
		f = math.Float32frombits((u + 0x7fff + u>>16&1) &^ 0xffff)
	}
	return float64(f)
}

func roundAll(t kernels.DType, v []float64) []float64 {
	r := make([]float64, len(v))
	for i, x := range v {
		r[i] = round(t, x)
	}
	return r
}

func narrow(v []float64) []float32 {
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return f
}

func widen(f []float32) []float64 {
	v := make([]float64, len(f))
	for i, x := range f {
		v[i] = float64(x)
	}
	return v
}

// drops returns drop path's scales of samples: 0 or 1/keep.
func drops(samples int) []float64 {
	v := make([]float64, samples)
	for i := range v {
		if i%3 != 1 {
			v[i] = 1.25
		}
	}
	return v
}

// twin computes a kernel with package reference in float64, into new slices of
// the given lengths; 0 leaves an output out.
func (d *device) twin(k graph.Kernel, lengths []int, in ...[]float64) [][]float64 {
	out := make([][]float64, len(lengths))
	for i, n := range lengths {
		if n > 0 {
			out[i] = make([]float64, n)
		}
	}
	run, err := reference.Bind(k, out, in)
	d.must(err)
	run()
	return out
}

// plus returns a + b.
func plus(a, b []float64) []float64 {
	s := make([]float64, len(a))
	for i := range a {
		s[i] = a[i] + b[i]
	}
	return s
}

func littleEndian(put func([]byte), size int) []byte {
	b := make([]byte, size)
	put(b)
	return b
}
