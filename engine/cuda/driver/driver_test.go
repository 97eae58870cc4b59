//go:build gpu

package driver_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/cu"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
)

// card is the device that the tests share.
var card = emulation.Share(func() (*driver.Device, *driver.Device, error) {
	d, err := driver.Open(0)
	return d, d, err
}, (*driver.Device).Close)

func TestMain(m *testing.M) { os.Exit(emulation.Main(m)) }

// with runs f on the first device with a stream. A panic, such as that of must, fails only
// this test.
func with(t *testing.T, f func(c *driver.Context, s *driver.Stream)) {
	t.Helper()
	start(t)
	err := card.Get(t).Do(func(c *driver.Context) error {
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("%v\n%s", p, debug.Stack())
			}
		}()
		s := must(c.Stream())
		f(c, s)
		return s.Destroy()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T) {
	t.Helper()
	emulation.Start(t, "../emulation/testdata/kernels.cu")
}

// must returns v, or panics if err is not nil.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDevices(t *testing.T) {
	emulation.Start(t)
	all := must(driver.Devices())
	if len(all) == 0 {
		t.Fatal("no devices")
	}
	i := all[0]
	if i.Name == "" || i.Major < 3 || i.Multiprocessors < 1 || i.Memory < 1<<30 || i.L2 < 1<<20 || i.SharedPerBlock < 48<<10 ||
		i.CUDA < driver.OldestCUDA || !strings.HasPrefix(i.UUID, "GPU-") || len(i.UUID) != len("GPU-")+36 || !strings.Contains(i.PCI, ":") {
		t.Errorf("%+v", i)
	}
	if v := driver.Version(12040); v != "12.4" {
		t.Errorf("12040 is %s", v)
	}
}

func TestOpenFails(t *testing.T) {
	emulation.Start(t)
	if _, err := driver.Open(99); err == nil || !strings.Contains(err.Error(), "there is no device 99") {
		t.Errorf("%v", err)
	}
	old := driver.Info{Name: "Tesla V100", Major: 7, Minor: 0}
	if err := old.Supported(); err == nil || !strings.Contains(err.Error(), "need 8.0") {
		t.Errorf("%v", err)
	}
}

// TestLoad loads the driver in separate processes, because a process loads only once.
func TestLoad(t *testing.T) {
	if os.Getenv("HATCHERY_TEST_LOAD") != "" {
		err := driver.Load()
		if err == nil {
			err = errors.New("loaded")
		}
		os.Stdout.WriteString("<<" + err.Error() + ">>")
		os.Exit(0)
	}
	emulation.Start(t)
	if emulation.OnCard() {
		t.Skip("about the emulation, not the card")
	}
	for _, c := range []struct {
		name string
		env  []string
		want []string
	}{
		{"found", nil, []string{"loaded"}},
		{"no library", []string{driver.Env + "=/nowhere/libcuda.so.1"}, []string{"no NVIDIA driver: /nowhere/libcuda.so.1", "install its driver", driver.Env}},
		{"another library", []string{driver.Env + "=libm.so.6"}, []string{"libm.so.6 has no cuInit"}},
		{"no card", []string{"HATCHERY_EMULATION_INIT=100"}, []string{"does not start: cuInit: ", "no CUDA-capable device is detected", "CUDA_VISIBLE_DEVICES"}},
		{"mismatch", []string{"HATCHERY_EMULATION_INIT=803"}, []string{"differ in version: restart the machine"}},
		{"old driver", []string{"HATCHERY_EMULATION_VERSION=11040"}, []string{"is for CUDA 11.4, hatchery needs 11.8 or newer: update the driver"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestLoad$")
			cmd.Env = append(append(os.Environ(), "HATCHERY_TEST_LOAD=1"), c.env...)
			out, err := cmd.CombinedOutput()
			check(t, err)
			_, said, _ := strings.Cut(string(out), "<<")
			for _, w := range c.want {
				if !strings.Contains(said, w) {
					t.Errorf("%q is not in %q", w, said)
				}
			}
		})
	}
}

// TestPrimaryContext checks that threads sleep while they wait for the device, for which
// the flag must be set before there is a context.
func TestPrimaryContext(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream) {
		flags, active, err := cu.Device(0).PrimaryCtxState()
		check(t, err)
		if active == 0 || flags&cu.SchedMask != cu.SchedBlockingSync {
			t.Errorf("active %d, flags %d; want 1 and %d", active, flags, cu.SchedBlockingSync)
		}
	})
	if emulation.OnCard() {
		return
	}
	// Another library has made the context with flags of its own.
	start(t)
	t.Setenv("HATCHERY_EMULATION_DEVICES", "2")
	check(t, cu.Device(1).SetPrimaryCtxFlags(cu.SchedYield))
	must(cu.Device(1).RetainPrimaryCtx())
	d := must(driver.Open(1))
	d.Close()
	if flags, active, err := cu.Device(1).PrimaryCtxState(); err != nil || active != 1 || flags != cu.SchedYield {
		t.Errorf("active %d, flags %d, %v; want 1 and %d", active, flags, err, cu.SchedYield)
	}
	check(t, cu.Device(1).ReleasePrimaryCtx())
}

func TestDo(t *testing.T) {
	start(t)
	d := must(driver.Open(0)) // its own: it is closed
	want := errors.New("mine")
	if err := d.Do(func(*driver.Context) error { return want }); !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
	func() {
		defer func() {
			if p := recover(); p != "ouch" {
				t.Errorf("panic %v", p)
			}
		}()
		d.Do(func(*driver.Context) error { panic("ouch") })
	}()
	check(t, d.Do(func(c *driver.Context) error { _, _, err := c.MemInfo(); return err })) // it goes on
	ended := make(chan struct{})
	other := must(driver.Open(0))
	go func() {
		defer close(ended)
		other.Do(func(*driver.Context) error { runtime.Goexit(); return nil })
		t.Error("went on after the end of the goroutine")
	}()
	<-ended
	if err := other.Do(func(*driver.Context) error { return nil }); !errors.Is(err, driver.ErrClosed) {
		t.Errorf("after the end of its goroutine: %v", err)
	}
	step := func(*driver.Context) error { return nil }
	if n := testing.AllocsPerRun(100, func() { d.Do(step) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	d.Close()
	d.Close()
	if err := d.Do(step); !errors.Is(err, driver.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestMemory(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream) {
		before, total, err := c.MemInfo()
		check(t, err)
		if before <= 0 || before > total {
			t.Errorf("%d of %d bytes free", before, total)
		}
		p := must(c.Alloc(1 << 20))
		q := must(c.Alloc(1 << 20))
		if p == 0 || p%256 != 0 {
			t.Errorf("address %x", p)
		}
		values := make([]float32, 1<<18)
		for i := range values {
			values[i] = float32(i)
		}
		check(t, driver.Upload(s, p, values))
		check(t, s.CopyOnDevice(q, p, 1<<20))
		check(t, s.Zero(q, 40))
		got := make([]float32, len(values))
		check(t, driver.Download(s, got, q))
		clear(values[:10])
		if !slices.Equal(got, values) {
			t.Error("what came back is something else")
		}
		check(t, c.Free(p))
		check(t, c.Free(q))
		if _, err := c.Alloc(1 << 50); !errors.Is(err, driver.OutOfMemory) ||
			!strings.Contains(err.Error(), "CUDA_ERROR_OUT_OF_MEMORY (2): out of memory; take a smaller batch") {
			t.Errorf("2^50 bytes: %v", err)
		}
	})
}

func TestPinned(t *testing.T) {
	with(t, func(c *driver.Context, s *driver.Stream) {
		const n = 1000
		p := must(c.Pinned(2 * 4 * n))
		in, out := p.Slice(0, 4*n), p.Slice(4*n, 8*n)
		for i := range driver.View[float32](in) {
			driver.View[float32](in)[i] = float32(i)
		}
		d := must(c.Alloc(4 * n))
		check(t, s.CopyToDevice(d, in))
		check(t, s.CopyToHost(out, d))
		check(t, s.Synchronize())
		if !slices.Equal(out.Bytes(), in.Bytes()) {
			t.Error("what came back is something else")
		}
		if out.Len() != 4*n || len(driver.View[float64](out)) != n/2 {
			t.Errorf("%d bytes", out.Len())
		}
		check(t, c.Free(d))
		check(t, c.FreePinned(p))
	})
}
