//go:build gpu

package emulation_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
)

// on runs f on a device with the test's kernels.
func on(t *testing.T, f func(c *driver.Context, m *driver.Module, s *driver.Stream) error) error {
	t.Helper()
	if emulation.OnCard() {
		t.Skip("about the emulation, not the card")
	}
	emulation.Start(t, "testdata/kernels.cu")
	d, err := driver.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return d.Do(func(c *driver.Context) error {
		m, err := c.Module(emulation.Image(nil))
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Stream()
		if err != nil {
			t.Fatal(err)
		}
		return f(c, m, s)
	})
}

// upload allocates device memory with the values of v.
func upload[T any](t *testing.T, c *driver.Context, s *driver.Stream, v []T, bytes int64) uint64 {
	t.Helper()
	p, err := c.Alloc(bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := driver.Upload(s, p, v); err != nil {
		t.Fatal(err)
	}
	return uint64(p)
}

func launch(t *testing.T, m *driver.Module, s *driver.Stream, name string, blocks, threads, shared uint32, args ...uint64) error {
	t.Helper()
	f, err := m.Function(name)
	if err != nil {
		t.Fatal(err)
	}
	return s.Launch(f, [3]uint32{blocks, 1, 1}, [3]uint32{threads, 1, 1}, shared, args)
}

// both runs a test with threads and copies in each order.
func both(t *testing.T, f func(t *testing.T)) {
	for _, order := range []string{"forward", "backward"} {
		t.Run(order, func(t *testing.T) {
			t.Setenv("HATCHERY_EMULATION_ORDER", order)
			f(t)
		})
	}
}

func TestScale(t *testing.T) {
	err := on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
		x := make([]float32, 1000)
		for i := range x {
			x[i] = float32(i)
		}
		p := upload(t, c, s, x, 4000)
		if err := launch(t, m, s, "scale", 4, 256, 0, p, 1000, uint64(math.Float32bits(0.5))); err != nil {
			return err
		}
		if err := driver.Download(s, x, driver.Ptr(p)); err != nil {
			return err
		}
		for i, v := range x {
			if v != float32(i)/2 {
				t.Fatalf("x[%d] = %v", i, v)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBlockSum(t *testing.T) {
	both(t, func(t *testing.T) {
		err := on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
			x := make([]float32, 3*256)
			want := make([]float32, 3)
			for i := range x {
				x[i] = float32(i % 17)
				want[i/256] += x[i]
			}
			sums := upload(t, c, s, make([]float32, 3), 12)
			if err := launch(t, m, s, "block_sum", 3, 256, 0, sums, upload(t, c, s, x, 4*3*256)); err != nil {
				return err
			}
			got := make([]float32, 3)
			if err := driver.Download(s, got, driver.Ptr(sums)); err != nil {
				return err
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestTile multiplies with mma, ldmatrix and cp.async.
func TestTile(t *testing.T) {
	const k = 64
	both(t, func(t *testing.T) {
		err := on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
			a, b := make([]uint16, 16*k), make([]uint16, k*8)
			for i := range a { // small integers: bf16 holds them, and their sums are exact
				a[i] = bf16(float32(i%7 - 3))
			}
			for i := range b {
				b[i] = bf16(float32(i%5 - 2))
			}
			p := upload(t, c, s, make([]float32, 16*8), 4*16*8)
			err := launch(t, m, s, "tile", 1, 32, 2*(16*16+16*8), p, upload(t, c, s, a, 2*16*k), upload(t, c, s, b, 2*k*8), k)
			if err != nil {
				return err
			}
			got := make([]float32, 16*8)
			if err := driver.Download(s, got, driver.Ptr(p)); err != nil {
				return err
			}
			for i := range 16 {
				for j := range 8 {
					var want float32
					for l := range k {
						want += float32((i*k+l)%7-3) * float32((l*8+j)%5-2)
					}
					if got[i*8+j] != want {
						t.Fatalf("(%d,%d) is %v, want %v", i, j, got[i*8+j], want)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func bf16(v float32) uint16 { return uint16(math.Float32bits(v) >> 16) }

func TestRounding(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	cases := []struct {
		from float32
		to   uint16
	}{
		{1, 0x3f80}, {-1, 0xbf80}, {0, 0}, {inf, 0x7f80}, {-inf, 0xff80}, {nan, 0x7fff},
		{1 + 1.0/256, 0x3f80}, {1 + 3.0/256, 0x3f82}, // ties to even
		{1 + 1.01/256, 0x3f81}, {1 + 0.99/256, 0x3f80},
		{math.MaxFloat32, 0x7f80}, {math.SmallestNonzeroFloat32, 0},
	}
	err := on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
		x := make([]float32, len(cases))
		for i := range cases {
			x[i] = cases[i].from
		}
		p := upload(t, c, s, make([]uint16, len(x)), int64(2*len(x)))
		if err := launch(t, m, s, "round_bf16", 1, 32, 0, p, upload(t, c, s, x, int64(4*len(x))), uint64(len(x))); err != nil {
			return err
		}
		got := make([]uint16, len(x))
		if err := driver.Download(s, got, driver.Ptr(p)); err != nil {
			return err
		}
		for i, c := range cases {
			if got[i] != c.to {
				t.Errorf("%v becomes %04x, want %04x", c.from, got[i], c.to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFindsMissingBarrier has a kernel whose threads read each other's shared
// memory, with a barrier and without.
func TestFindsMissingBarrier(t *testing.T) {
	right := map[string]bool{}
	for _, order := range []string{"forward", "backward"} {
		t.Setenv("HATCHERY_EMULATION_ORDER", order)
		for _, barrier := range []bool{false, true} {
			err := on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
				x := make([]float32, 64)
				for i := range x {
					x[i] = float32(i)
				}
				p := upload(t, c, s, x, 4*64)
				with := uint64(0)
				if barrier {
					with = 1
				}
				if err := launch(t, m, s, "reverse", 1, 64, 0, p, with); err != nil {
					return err
				}
				if err := driver.Download(s, x, driver.Ptr(p)); err != nil {
					return err
				}
				ok := true
				for i, v := range x {
					ok = ok && v == float32(63-i)
				}
				right[fmt.Sprint(order, " ", barrier)] = ok
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// Forward it may find what a block before has left.
	if !right["forward true"] || !right["backward true"] || right["backward false"] {
		t.Errorf("right: %v", right)
	}
}

// TestFindsMissingCopyWait has a kernel that reads what cp.async brings.
func TestFindsMissingCopyWait(t *testing.T) {
	t.Setenv("HATCHERY_EMULATION_ORDER", "forward")
	err := on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
		x := make([]float32, 32)
		for i := range x {
			x[i] = float32(i + 1)
		}
		from := upload(t, c, s, x, 4*32)
		to := upload(t, c, s, x, 4*32)
		for wait := range uint64(2) {
			if err := launch(t, m, s, "copied", 1, 32, 4*32, to, from, wait); err != nil {
				return err
			}
			got := make([]float32, 32)
			if err := driver.Download(s, got, driver.Ptr(to)); err != nil {
				return err
			}
			want := slices.Clone(x)
			clear(want[20:]) // copied with zero bytes of the source
			if slices.Equal(got, want) != (wait == 1) {
				t.Errorf("wait %d: %v", wait, got)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFindsDivergentBarrier also has every later call fail, as on a card.
// The stand-in driver would stay broken for other tests, so it is a process of
// its own.
func TestFindsDivergentBarrier(t *testing.T) {
	if os.Getenv("HATCHERY_TEST_DIVERGENT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFindsDivergentBarrier$", "-test.v")
		cmd.Env = append(os.Environ(), "HATCHERY_TEST_DIVERGENT=1")
		out, err := cmd.CombinedOutput()
		if emulation.OnCard() {
			t.Skip("about the emulation, not the card")
		}
		for _, want := range []string{"divergent: deadlock", "waits at __shfl_sync", "said CUDA_ERROR_LAUNCH_FAILED (719)", "then CUDA_ERROR_LAUNCH_FAILED (719)"} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%q is not in %v: %s", want, err, out)
			}
		}
		return
	}
	on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
		p := upload(t, c, s, make([]float32, 64), 4*64)
		if err := launch(t, m, s, "divergent", 1, 64, 0, p); err != nil {
			return err
		}
		var code driver.Code
		errors.As(s.Synchronize(), &code)
		t.Log("said", code)
		_, err := c.Alloc(4)
		errors.As(err, &code)
		t.Log("then", code)
		return nil
	})
}

// TestPTX loads PTX itself, which must name the kernels and their parameters.
func TestPTX(t *testing.T) {
	const head = ".version 7.8\n.target sm_80\n"
	err := on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
		for ptx, want := range map[string]string{
			".visible .entry scale(.param .u64 a, .param .u32 b, .param .f32 c)\n{}":  "",
			".visible .entry scale(.param .u64 a, .param .u32 b)\n{}":                 "CUDA_ERROR_NOT_FOUND",
			".visible .entry scale2(.param .u64 a, .param .u32 b, .param .f32 c)\n{}": "CUDA_ERROR_NOT_FOUND",
		} {
			m, err := c.Module([]byte(head + ptx))
			if err != nil {
				return err
			}
			if _, err = m.Function("scale"); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", ptx, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Setenv("HATCHERY_EMULATION_MEMORY", "1000000")
	err := on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
		free, total, err := c.MemInfo()
		if err != nil {
			return err
		}
		if total != 1000000 || free > total {
			t.Errorf("%d of %d bytes", free, total)
		}
		if _, err := c.Alloc(free + 1); !errors.Is(err, driver.OutOfMemory) {
			t.Errorf("%v", err)
		}
		p, err := c.Alloc(free)
		if err != nil {
			return err
		}
		return c.Free(p)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFindsOutOfBounds has kernels that leave an array, in processes of their
// own, which UBSan and ASan end. Only the script sanitize runs it.
func TestFindsOutOfBounds(t *testing.T) {
	if os.Getenv("HATCHERY_SANITIZE") == "" {
		t.Skip("without ASan: run engine/cuda/emulation/sanitize")
	}
	if which := os.Getenv("HATCHERY_TEST_BEYOND"); which != "" {
		on(t, func(c *driver.Context, m *driver.Module, s *driver.Stream) error {
			p := upload(t, c, s, make([]float32, 8), 4*8)
			if which == "shared" {
				launch(t, m, s, "beyond", 1, 5, 0, p)
			} else {
				launch(t, m, s, "scale", 1, 32, 0, p, 9, 0)
			}
			return s.Synchronize()
		})
		return
	}
	for which, want := range map[string]string{"shared": "index 4 out of bounds for type 'float [4]'", "device": "AddressSanitizer: heap-buffer-overflow"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFindsOutOfBounds$")
		cmd.Env = append(os.Environ(), "HATCHERY_TEST_BEYOND="+which)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s memory: %v\n%s", which, err, out)
		}
	}
}
