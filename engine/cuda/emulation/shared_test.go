//go:build gpu

package emulation_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
)

// subject is a test that is watched: what it reports, and what it does at its end.
type subject struct {
	testing.TB
	name     string
	reported []string
	later    []func()
}

func (s *subject) Name() string     { return s.name }
func (s *subject) Helper()          {}
func (s *subject) Cleanup(f func()) { s.later = append(s.later, f) }
func (s *subject) Errorf(format string, a ...any) {
	s.reported = append(s.reported, fmt.Sprintf(format, a...))
}

// use runs a function as a test with a shared device and returns the errors that the test
// reports.
func use(t *testing.T, shared *emulation.Shared[*driver.Device], name string, f func(d *driver.Device)) string {
	s := &subject{TB: t, name: name}
	f(shared.Get(s))
	for _, f := range s.later {
		f()
	}
	return strings.Join(s.reported, "; ")
}

// TestShared: tests have one device after another, until one spoils it.
func TestShared(t *testing.T) {
	if emulation.OnCard() {
		t.Skip("about the emulation, not the card")
	}
	emulation.Start(t, "testdata/kernels.cu")
	opened := 0
	shared := emulation.Share(func() (*driver.Device, *driver.Device, error) {
		opened++
		d, err := driver.Open(0)
		return d, d, err
	}, (*driver.Device).Close)
	sound := func(d *driver.Device) {
		if err := d.Do(func(c *driver.Context) error {
			p, err := c.Alloc(100)
			if err != nil {
				return err
			}
			return c.Free(p)
		}); err != nil {
			t.Error(err)
		}
	}
	expect := func(name, said string, openings int, want string) {
		t.Helper()
		if opened != openings || (said == "") != (want == "") || !strings.Contains(said, want) {
			t.Errorf("%s: %d openings, want %d; it is said %q, want %q", name, opened, openings, said, want)
		}
	}
	expect("first", use(t, shared, "first", sound), 1, "")
	expect("second", use(t, shared, "second", sound), 1, "")

	var left driver.Ptr
	expect("forgets", use(t, shared, "forgets", func(d *driver.Device) {
		d.Do(func(c *driver.Context) (err error) { left, err = c.Alloc(100); return err })
	}), 1, "leaves 100 bytes")
	use(t, shared, "tidies up", func(d *driver.Device) {
		d.Do(func(c *driver.Context) error { return c.Free(left) })
	})

	expect("ends its thread", use(t, shared, "ends its thread", func(d *driver.Device) {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			d.Do(func(*driver.Context) error { runtime.Goexit(); return nil }) // as FailNow does
		}()
		<-ended
	}), 1, "")
	expect("after it", use(t, shared, "after it", sound), 2, "")

	// A kernel goes wrong, and every call after it, whoever has opened the device.
	other := emulation.Share(func() (*driver.Device, *driver.Device, error) {
		d, err := driver.Open(0)
		return d, d, err
	}, (*driver.Device).Close)
	expect("beside it", use(t, other, "beside it", sound), 2, "")
	expect("breaks", use(t, shared, "breaks", func(d *driver.Device) {
		d.Do(func(c *driver.Context) error {
			m, err := c.Module(emulation.Image(nil))
			if err != nil {
				return err
			}
			s, err := c.Stream()
			if err != nil {
				return err
			}
			p, err := c.Alloc(256)
			if err != nil {
				return err
			}
			f, err := m.Function("divergent")
			if err != nil {
				return err
			}
			return s.Launch(f, [3]uint32{1, 1, 1}, [3]uint32{64, 1, 1}, 0, []uint64{uint64(p)})
		})
	}), 2, "cannot be used after this test")
	expect("after that", use(t, shared, "after that", sound), 3, "")
	expect("beside that", use(t, other, "beside that", sound), 3, "")
}
