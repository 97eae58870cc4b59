//go:build gpu

package emulation_test

import (
	"math"
	"testing"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
)

// on runs f on a device with the test's kernels.
func on(t *testing.T, f func(c *driver.Context, m *driver.Module, s *driver.Stream) error) error {
	t.Helper()
	if emulation.Real() {
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
