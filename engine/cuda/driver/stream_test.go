//go:build gpu

package driver_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
)

// kernels is PTX for tests on a card: scale multiplies n floats.
const kernels = `
.version 7.8
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 x, .param .u32 n, .param .f32 factor)
.maxntid 256, 1, 1
{
	.reg .pred %p; .reg .b32 %r<6>; .reg .b64 %d<3>; .reg .f32 %f<3>;
	ld.param.u64 %d0, [x]; ld.param.u32 %r0, [n]; ld.param.f32 %f0, [factor];
	mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
	mad.lo.s32 %r4, %r1, %r2, %r3;
	setp.ge.s32 %p, %r4, %r0;
	@%p bra done;
	cvta.to.global.u64 %d0, %d0; mul.wide.s32 %d1, %r4, 4; add.s64 %d1, %d0, %d1;
	ld.global.f32 %f1, [%d1]; mul.f32 %f1, %f1, %f0; st.global.f32 [%d1], %f1;
done:	ret;
}`

const n = 1000 // floats that tests work on

// fixture is device memory with n ones, and the kernel that multiplies them.
type fixture struct {
	c     *driver.Context
	m     *driver.Module
	scale driver.Function
	p     driver.Ptr
	args  [3]uint64
}

func prepare(t *testing.T, c *driver.Context, s *driver.Stream) *fixture {
	t.Helper()
	m := must(c.Module([]byte(kernels)))
	f := &fixture{c: c, m: m, scale: must(m.Function("scale")), p: must(c.Alloc(4 * n))}
	ones := make([]float32, n)
	for i := range ones {
		ones[i] = 1
	}
	check(t, driver.Upload(s, f.p, ones))
	return f
}

// close gives everything back.
func (f *fixture) close(t *testing.T) {
	t.Helper()
	check(t, f.c.Free(f.p))
	check(t, f.m.Unload())
}

// times puts a multiplication of all values into the stream.
func (f *fixture) times(s *driver.Stream, factor float32) error {
	f.args = [3]uint64{uint64(f.p), n, uint64(math.Float32bits(factor))}
	return s.Launch(f.scale, [3]uint32{(n + 255) / 256, 1, 1}, [3]uint32{256, 1, 1}, 0, f.args[:])
}

// value is what all values are, or NaN where they differ.
func (f *fixture) value(t *testing.T, s *driver.Stream) float32 {
	t.Helper()
	v := make([]float32, n)
	check(t, driver.Download(s, v, f.p))
	for _, x := range v {
		if x != v[0] {
			return float32(math.NaN())
		}
	}
	return v[0]
}

func TestLaunch(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream) {
		f := prepare(t, c, s)
		defer f.close(t)
		check(t, f.times(s, 3))
		if v := f.value(t, s); v != 3 {
			t.Errorf("1 times 3 is %v", v)
		}
		if a := testing.AllocsPerRun(100, func() { f.times(s, 1) }); a != 0 {
			t.Errorf("%v allocations a launch", a)
		}
	})
}

func TestLaunchFails(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream) {
		f := prepare(t, c, s)
		defer f.close(t)
		for name, err := range map[string]error{
			"arguments":     s.Launch(f.scale, [3]uint32{1, 1, 1}, [3]uint32{32, 1, 1}, 0, make([]uint64, driver.MaxArguments+1)),
			"no blocks":     s.Launch(f.scale, [3]uint32{0, 1, 1}, [3]uint32{32, 1, 1}, 0, f.args[:]),
			"threads":       s.Launch(f.scale, [3]uint32{1, 1, 1}, [3]uint32{2048, 1, 1}, 0, f.args[:]),
			"launch bounds": s.Launch(f.scale, [3]uint32{1, 1, 1}, [3]uint32{512, 1, 1}, 0, f.args[:]),
			"shared memory": s.Launch(f.scale, [3]uint32{1, 1, 1}, [3]uint32{32, 1, 1}, 64<<10, f.args[:]),
		} {
			if err == nil || !strings.HasPrefix(err.Error(), "cuLaunchKernel: ") {
				t.Errorf("%s: %v", name, err)
			}
		}
		check(t, f.scale.SetSharedLimit(64<<10))
		f.args = [3]uint64{uint64(f.p), n, uint64(math.Float32bits(1))}
		check(t, s.Launch(f.scale, [3]uint32{1, 1, 1}, [3]uint32{32, 1, 1}, 64<<10, f.args[:]))
		if err := f.scale.SetSharedLimit(1 << 20); err == nil {
			t.Error("a block may have a mebibyte of shared memory")
		}
	})
}

func TestModuleFails(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream) {
		if _, err := c.Module([]byte("no PTX")); err == nil || !strings.Contains(err.Error(), "compiling kernels for ") {
			t.Errorf("%v", err)
		}
		m := must(c.Module([]byte(kernels)))
		if _, err := m.Function("nothing"); err == nil || !strings.Contains(err.Error(), "kernel nothing: cuModuleGetFunction: CUDA_ERROR_NOT_FOUND") {
			t.Errorf("%v", err)
		}
		check(t, m.Unload())
	})
}

func TestEvents(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream) {
		f := prepare(t, c, s)
		defer f.close(t)
		other := must(c.Stream())
		start, end := must(c.Event(true)), must(c.Event(true))
		check(t, s.Record(start))
		check(t, f.times(s, 2))
		check(t, s.Record(end))
		check(t, other.Wait(end))
		check(t, s.Record(end)) // what other waits for stays the record before
		check(t, f.times(other, 5))
		if v := f.value(t, other); v != 10 {
			t.Errorf("1 times 2 times 5 is %v", v)
		}
		for done, deadline := false, time.Now().Add(10*time.Second); !done; {
			if time.Now().After(deadline) {
				t.Fatal("an event does not happen")
			}
			var err error
			done, err = end.Done()
			check(t, err)
		}
		if d := must(end.Elapsed(start)); d < 0 || d > time.Minute {
			t.Errorf("%v between the events", d)
		}
		check(t, start.Destroy())
		check(t, end.Destroy())
		check(t, other.Destroy())
	})
}

// TestCapture captures work of two streams that depend on each other, and
// replays it.
func TestCapture(t *testing.T) {
	for _, order := range []string{"forward", "backward"} {
		t.Run(order, func(t *testing.T) {
			t.Setenv("HATCHERY_EMULATION_ORDER", order)
			with(t, captureTwoStreams(t))
		})
	}
}

func captureTwoStreams(t *testing.T) func(*driver.Context, *driver.Stream) {
	return func(c *driver.Context, s *driver.Stream) {
		f := prepare(t, c, s)
		defer f.close(t)
		side, fork, join := must(c.Stream()), must(c.Event(false)), must(c.Event(false))
		copied := must(c.Alloc(4 * n))
		in, out := must(c.Pinned(4*n)), must(c.Pinned(4*n))

		check(t, s.BeginCapture())
		check(t, s.CopyToDevice(f.p, in))
		check(t, f.times(s, 2))
		check(t, s.Record(fork))
		check(t, side.Wait(fork))
		check(t, side.CopyOnDevice(copied, f.p, 4*n)) // side: the doubled values
		check(t, side.Record(join))
		check(t, s.Wait(join))
		check(t, f.times(s, 3))
		check(t, s.CopyToHost(out, copied))
		if !must(side.Capturing()) {
			t.Error("the stream that joined is not captured")
		}
		g := must(s.EndCapture())
		if must(s.Capturing()) || must(side.Capturing()) {
			t.Error("still capturing")
		}
		if k := must(g.Nodes()); k != 5 {
			t.Errorf("%d nodes", k)
		}
		e := must(g.Instantiate())
		check(t, g.Destroy())
		if v := f.value(t, s); v != 1 {
			t.Errorf("captured work ran: %v", v)
		}
		check(t, e.Upload(s))
		for round := range 3 {
			for i := range driver.View[float32](in) {
				driver.View[float32](in)[i] = float32(round + 1)
			}
			check(t, e.Launch(s))
			if v := f.value(t, s); v != float32(6*(round+1)) {
				t.Errorf("round %d: %v", round, v)
			}
			if v := driver.View[float32](out)[n-1]; v != float32(2*(round+1)) {
				t.Errorf("round %d: the side stream has %v", round, v)
			}
		}
		if a := testing.AllocsPerRun(10, func() { e.Launch(s) }); a != 0 {
			t.Errorf("%v allocations a launch", a)
		}
		check(t, s.Synchronize())
		check(t, e.Destroy())
		check(t, side.Destroy())
		check(t, c.Free(copied))
		check(t, c.FreePinned(in))
		check(t, c.FreePinned(out))
	}
}

// TestCaptureFails has what a capture does not allow. Each ends the capture,
// and the stream works again.
func TestCaptureFails(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream) {
		f := prepare(t, c, s)
		defer f.close(t)
		outside := must(c.Stream())
		before := must(c.Event(false))
		check(t, outside.Record(before))
		host := make([]float32, n)
		spare := must(c.Alloc(4))
		for _, x := range []struct {
			name string
			do   func() error
			want string // of do, or of EndCapture where do may succeed
		}{
			{"allocate", func() error { _, err := c.Alloc(1 << 20); return err }, "CAPTURE_UNSUPPORTED"},
			{"free", func() error { return c.Free(spare) }, "CAPTURE_UNSUPPORTED"},
			{"synchronize", s.Synchronize, "CAPTURE_UNSUPPORTED"},
			{"synchronize all", c.Synchronize, "CAPTURE_UNSUPPORTED"},
			{"download", func() error { return driver.Download(s, host, f.p) }, "CAPTURE_UNSUPPORTED"},
			{"wait for what is not captured", func() error { return s.Wait(before) }, "CAPTURE_ISOLATION"},
			{"no join", func() error {
				fork := must(c.Event(false))
				side := must(c.Stream())
				return errors.Join(s.Record(fork), side.Wait(fork), f.times(side, 2))
			}, "CAPTURE_UNJOINED"},
		} {
			check(t, s.BeginCapture())
			check(t, f.times(s, 2))
			err := x.do()
			g, ended := s.EndCapture()
			if x.name == "free" {
				// A capture forbids "potentially unsafe" calls, of which NVIDIA names
				// but cudaMalloc. A card may free, then, or refuse as the emulation
				// does.
				if emulation.OnCard() && err == nil {
					if ended == nil {
						check(t, g.Destroy())
					}
					check(t, s.Synchronize())
					continue
				}
				check(t, c.Free(spare))
			}
			if ended == nil {
				t.Errorf("%s: there is a graph", x.name)
			}
			if err := errors.Join(err, ended); !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s: %v", x.name, err)
			}
			check(t, s.Synchronize())
		}
		if v := f.value(t, s); v != 1 {
			t.Errorf("what was captured in vain ran: %v", v)
		}
	})
}

// TestForgottenWaits shows that the emulation finds what a test on a card finds
// by luck.
func TestForgottenWaits(t *testing.T) {
	if emulation.OnCard() {
		t.Skip("about the emulation, not the card")
	}
	with(t, func(c *driver.Context, s *driver.Stream) {
		f := prepare(t, c, s)
		defer f.close(t)
		other := must(c.Stream())
		check(t, f.times(s, 2))
		if v := f.value(t, other); v != 1 {
			t.Errorf("a stream saw what another has not done for it: %v", v)
		}
		check(t, s.Synchronize())
		p := must(c.Pinned(4 * n))
		check(t, s.CopyToHost(p, f.p))
		if v := driver.View[float32](p)[0]; v == v {
			t.Errorf("a copy was there before it was waited for: %v", v)
		}
		check(t, s.Synchronize())
		if v := driver.View[float32](p)[0]; v != 2 {
			t.Errorf("%v", v)
		}
	})
}
