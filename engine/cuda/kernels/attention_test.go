//go:build gpu

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"hatchery/engine/cpu/reference"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// guard is how many bytes around every buffer must stay as they are.
const guard = 256

// chip runs launches on buffers with guards around them.
type chip struct {
	*driver.Context
	module  *driver.Module
	stream  *driver.Stream
	buffers []driver.Ptr
	sizes   []int
}

// onChip runs f with the attention kernels. What f returns fails the test.
func onChip(t *testing.T, f func(*chip) error) {
	t.Helper()
	emulation.Start(t, "attention_plain.cu", "attention_forward.cu", "attention_backward.cu")
	d, err := driver.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = d.Do(func(c *driver.Context) error {
		m, err := c.Module(emulation.Image(nil))
		if err != nil {
			return err
		}
		defer m.Unload()
		s, err := c.Stream()
		if err != nil {
			return err
		}
		defer s.Destroy()
		k := &chip{Context: c, module: m, stream: s}
		defer func() {
			for _, p := range k.buffers {
				c.Free(p)
			}
		}()
		return f(k)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// put makes a buffer with these bytes.
func (c *chip) put(b []byte) (kernels.Buffer, error) {
	p, err := c.Alloc(int64(len(b) + 2*guard))
	if err != nil {
		return kernels.Buffer{}, err
	}
	c.buffers, c.sizes = append(c.buffers, p), append(c.sizes, len(b))
	all := slices.Concat(slices.Repeat([]byte{0xa5}, guard), b, slices.Repeat([]byte{0xa5}, guard))
	return kernels.Buffer{ID: int32(len(c.buffers))}, driver.Upload(c.stream, p, all)
}

// blank makes a buffer of n bytes that hold NaN in either type.
func (c *chip) blank(n int) (kernels.Buffer, error) {
	return c.put(slices.Repeat([]byte{0xff}, n))
}

// get is what a buffer holds, if nothing was written beside it.
func (c *chip) get(b kernels.Buffer) ([]byte, error) {
	all := make([]byte, c.sizes[b.ID-1]+2*guard)
	if err := driver.Download(c.stream, all, c.buffers[b.ID-1]); err != nil {
		return nil, err
	}
	for i, v := range all {
		if (i < guard || i >= len(all)-guard) && v != 0xa5 {
			return nil, fmt.Errorf("buffer %d was written %d bytes from its beginning; it has %d", b.ID, i-guard, len(all)-2*guard)
		}
	}
	return all[guard : len(all)-guard], nil
}

func (c *chip) run(launches ...kernels.Launch) error {
	for _, l := range launches {
		f, err := c.module.Function(l.Kernel)
		if err != nil {
			return err
		}
		if err := f.SetSharedLimit(int(l.Shared)); err != nil {
			return err
		}
		var args []uint64
		for _, a := range l.Args {
			v := a.Bits
			if a.Kind == kernels.Pointer && !a.Buffer.IsNull() {
				v = uint64(c.buffers[a.Buffer.ID-1]) + guard + uint64(a.Buffer.Offset)
			}
			args = append(args, v)
		}
		if err := c.stream.Launch(f, l.Grid, l.Block, l.Shared, args); err != nil {
			return err
		}
	}
	if err := c.stream.Synchronize(); err != nil {
		return fmt.Errorf("%s: %w", launches[0].Kernel, err)
	}
	return nil
}

// encode stores values as t; decode reads them.
func encode(t kernels.DType, v []float64) []byte {
	b := make([]byte, len(v)*t.Size())
	for i, v := range v {
		bits := math.Float32bits(float32(v))
		if t == kernels.F32 {
			*(*uint32)(unsafe.Pointer(&b[4*i])) = bits
		} else {
			*(*uint16)(unsafe.Pointer(&b[2*i])) = uint16((bits + 0x7fff + bits>>16&1) >> 16)
		}
	}
	return b
}

func decode(t kernels.DType, b []byte) []float64 {
	v := make([]float64, len(b)/t.Size())
	for i := range v {
		if t == kernels.F32 {
			v[i] = float64(*(*float32)(unsafe.Pointer(&b[4*i])))
		} else {
			v[i] = float64(math.Float32frombits(uint32(*(*uint16)(unsafe.Pointer(&b[2*i]))) << 16))
		}
	}
	return v
}

// attentionRun is what the kernels gave.
type attentionRun struct{ out, lse, dqkv []byte }

func runAttention(t *testing.T, dtype kernels.DType, s nn.AttentionForward, qkv, dout []byte) (r attentionRun) {
	t.Helper()
	onChip(t, func(c *chip) error {
		in, err := c.put(qkv)
		if err != nil {
			return err
		}
		dy, err := c.put(dout)
		if err != nil {
			return err
		}
		out, err := c.blank(len(dout))
		if err != nil {
			return err
		}
		lse, err := c.blank(4 * s.B * s.H * s.N)
		if err != nil {
			return err
		}
		dx, err := c.blank(len(qkv))
		if err != nil {
			return err
		}
		back := kernels.AttentionBackward{T: dtype, B: s.B, N: s.N, H: s.H, D: s.D, QKV: in, Out: out, LSE: lse, DOut: dy, DQKV: dx}
		scratch, err := c.blank(back.ScratchBytes())
		if err != nil {
			return err
		}
		back.Scratch = scratch
		err = c.run(kernels.Attention{T: dtype, B: s.B, N: s.N, H: s.H, D: s.D, QKV: in, Out: out, LSE: lse}.Launch())
		if err != nil {
			return err
		}
		if err := c.run(back.Launches()...); err != nil {
			return err
		}
		for _, f := range []struct {
			b    kernels.Buffer
			into *[]byte
			was  []byte
		}{{out, &r.out, nil}, {lse, &r.lse, nil}, {dx, &r.dqkv, nil}, {scratch, new([]byte), nil}, {in, new([]byte), qkv}, {dy, new([]byte), dout}} {
			if *f.into, err = c.get(f.b); err != nil {
				return err
			}
			if f.was != nil && !slices.Equal(*f.into, f.was) {
				return fmt.Errorf("the kernels changed their input")
			}
		}
		return nil
	})
	return r
}

// want computes a kernel by the reference, in float64.
func want(t *testing.T, k graph.Kernel, out [][]float64, in ...[]float64) {
	t.Helper()
	f, err := reference.Bind(k, out, in)
	if err != nil {
		t.Fatal(err)
	}
	f()
}

// near compares in the Euclidean norm.
func near(t *testing.T, name string, got, want []float64, tolerance float64) {
	t.Helper()
	var diff, norm float64
	for i := range want {
		diff += (got[i] - want[i]) * (got[i] - want[i])
		norm += want[i] * want[i]
	}
	if e := math.Sqrt(diff / norm); !(e <= tolerance) {
		t.Errorf("%s is off by %.2g of its norm, more than %.2g", name, e, tolerance)
	}
}

// Every kernel, at the sequences and heads of the presets and at the edges of
// the tiles.
func TestAttention(t *testing.T) {
	for _, s := range []struct{ b, h, n, d int }{
		{2, 2, 17, 16}, {1, 2, 17, 64}, {2, 1, 50, 64}, {1, 2, 65, 16}, {1, 2, 65, 45}, {1, 2, 65, 60}, {2, 3, 65, 64}, {1, 1, 80, 64},
		{2, 2, 50, 80}, {1, 1, 65, 96}, {1, 1, 81, 64}, {1, 2, 197, 45}, {1, 1, 197, 60}, {1, 2, 197, 64}, {1, 1, 257, 80}, {1, 1, 129, 96},
	} {
		for _, dtype := range []kernels.DType{kernels.BF16, kernels.F32} {
			t.Run(fmt.Sprintf("%d/%d/%v", s.n, s.d, dtype), func(t *testing.T) {
				testAttention(t, dtype, nn.AttentionForward{B: s.b, N: s.n, H: s.h, D: s.d}, 1)
			})
		}
	}
}

// The longest sequences of the presets, 384 and 392 pixels wide.
func TestAttentionLong(t *testing.T) {
	if testing.Short() {
		t.Skip("some seconds")
	}
	testAttention(t, kernels.BF16, nn.AttentionForward{B: 1, N: 577, H: 1, D: 64}, 1)
	testAttention(t, kernels.BF16, nn.AttentionForward{B: 1, N: 785, H: 1, D: 80}, 1)
}

// A single token attends to itself: out is v, and q and k have no gradient.
func TestAttentionOneToken(t *testing.T) {
	for _, d := range []int{16, 80} {
		testAttention(t, kernels.BF16, nn.AttentionForward{B: 2, N: 1, H: 2, D: d}, 1)
	}
}

// Scores far from zero: the softmax must not overflow, and one step's maximum
// must not be another's.
func TestAttentionLargeScores(t *testing.T) {
	for _, n := range []int{65, 197} {
		testAttention(t, kernels.BF16, nn.AttentionForward{B: 1, N: n, H: 1, D: 64}, 12)
	}
}

func testAttention(t *testing.T, dtype kernels.DType, k nn.AttentionForward, spread float64) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(k.N), uint64(k.D)))
	values := func(n int, spread float64) []byte {
		v := make([]float64, n)
		for i := range v {
			v[i] = spread * r.NormFloat64()
		}
		return encode(dtype, v)
	}
	c := k.H * k.D
	qkv, dout := values(k.B*k.N*3*c, spread), values(k.B*k.N*c, 1)
	got := runAttention(t, dtype, k, qkv, dout)

	x, dy := decode(dtype, qkv), decode(dtype, dout)
	out, dqkv := make([]float64, len(dy)), make([]float64, len(x))
	want(t, k, [][]float64{out}, x)
	want(t, nn.AttentionBackward(k), [][]float64{dqkv}, x, dy)
	tolerance := 1e-5
	if dtype == kernels.BF16 {
		tolerance = 1e-2
	}
	near(t, "out", decode(dtype, got.out), out, tolerance)
	near(t, "lse", decode(kernels.F32, got.lse), logSumExps(x, k), 1e-5)
	d := decode(dtype, got.dqkv)
	for i, name := range []string{"dq", "dk", "dv"} {
		if k.N == 1 && i < 2 {
			continue // zero: there is nothing to choose from
		}
		near(t, name, part(d, c, i), part(dqkv, c, i), tolerance)
	}

	if k.N > 300 && !emulation.Real() {
		return // shorter ones are run twice
	}
	t.Setenv("HATCHERY_EMULATION_ORDER", "backward")
	again := runAttention(t, dtype, k, qkv, dout)
	if !slices.Equal(got.out, again.out) || !slices.Equal(got.lse, again.lse) || !slices.Equal(got.dqkv, again.dqkv) {
		t.Error("other bits when threads run in another order")
	}
}

// part is one of q, k and v of [B*N, 3, C].
func part(x []float64, c, which int) (p []float64) {
	for at := which * c; at < len(x); at += 3 * c {
		p = append(p, x[at:at+c]...)
	}
	return p
}

// logSumExps is lse [B, H, N].
func logSumExps(x []float64, k nn.AttentionForward) (lse []float64) {
	c := k.H * k.D
	for b := range k.B {
		for h := range k.H {
			for i := range k.N {
				var sum float64
				for j := range k.N {
					var s float64
					for l := range k.D {
						s += x[(b*k.N+i)*3*c+h*k.D+l] * x[(b*k.N+j)*3*c+c+h*k.D+l]
					}
					sum += math.Exp(s / math.Sqrt(float64(k.D)))
				}
				lse = append(lse, math.Log(sum))
			}
		}
	}
	return lse
}
