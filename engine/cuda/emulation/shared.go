//go:build gpu

package emulation

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"hatchery/engine/cuda/driver"
)

// Shared is an open device, with the objects that the tests of a package need on it. The tests
// use it one after another, because on a card opening it and compiling the kernels takes
// longer than most tests. After a test that breaks the device, or ends its thread by failing
// on it, the next test gets a new one.
//
//	var card = emulation.Share(func() (*driver.Device, *driver.Device, error) {...}, (*driver.Device).Close)
//
//	func TestMain(m *testing.M) { os.Exit(emulation.Main(m)) }
//
//	func TestScale(t *testing.T) {
//		emulation.Start(t, "all.cu")
//		d := card.Get(t)
//		...
//	}
type Shared[T any] struct {
	open     func() (T, *driver.Device, error)
	closeAll func(T)

	mu       sync.Mutex
	value    T
	device   *driver.Device // of value; nil while nothing is open
	openings int
	broken   string // the last test that broke the device
	failed   bool   // no new device could be opened after that
}

var (
	shared   []closer // all Shared in this process
	sharedMu sync.Mutex
)

// closer is a Shared of any kind.
type closer interface {
	abandon(test string)
	end() (openings int, broken string)
}

// Share makes a device for tests to share. open is called at the first use. It returns the
// value for Get and the device in it. closeAll closes both.
func Share[T any](open func() (T, *driver.Device, error), closeAll func(T)) *Shared[T] {
	s := &Shared[T]{open: open, closeAll: closeAll}
	sharedMu.Lock()
	defer sharedMu.Unlock()
	shared = append(shared, s)
	return s
}

// Get returns the shared value for use until the test ends. Then the device must still work
// and, in the emulation, where there are no other users, have as much free memory as before.
func (s *Shared[T]) Get(t testing.TB) T {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		t.Skipf("not run: since %s no device can be opened in this process", s.broken)
	}
	if s.device == nil {
		value, device, err := s.open()
		if err != nil && s.broken != "" {
			// CUDA does not guarantee that a process can continue after a kernel
			// failed. The test named here caused that.
			s.failed = true
			t.Skipf("not run: since %s no device can be opened in this process: %v", s.broken, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.value, s.device = value, device
		s.openings++
	}
	device := s.device
	before, err := probe(device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.device != device {
			return // it was abandoned already
		}
		switch free, err := probe(device); {
		case err != nil:
			s.broken = t.Name()
			s.drop()
			if errors.Is(err, driver.ErrClosed) { // the test failed on the device's thread
				return
			}
			t.Errorf("the device cannot be used after this test: %v", err)
			// Others cannot use it either: the context belongs to the whole process.
			sharedMu.Lock()
			defer sharedMu.Unlock()
			for _, other := range shared {
				if other != closer(s) {
					other.abandon(t.Name())
				}
			}
		case !OnCard() && free != before:
			t.Errorf("the test leaves %d bytes of the device's memory allocated", before-free)
		}
	})
	return s.value
}

// probe waits for a device and returns the free memory.
func probe(d *driver.Device) (free int64, err error) {
	err = d.Do(func(c *driver.Context) (err error) {
		if err := c.Synchronize(); err != nil {
			return err
		}
		free, _, err = c.MemInfo()
		return err
	})
	return free, err
}

// drop closes the value, if it is open.
func (s *Shared[T]) drop() {
	if s.device != nil {
		s.closeAll(s.value)
		s.device = nil
	}
}

// abandon closes the value after a test of another Shared has broken the device.
func (s *Shared[T]) abandon(test string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.device != nil {
		s.broken = test
		s.drop()
	}
}

func (s *Shared[T]) end() (openings int, broken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	return s.openings, s.broken
}

// Main runs the tests of a package, closes what they share and returns the exit code. It
// counts as a failure if a device was opened more than once although no test broke it.
func Main(m *testing.M) int {
	code := m.Run()
	sharedMu.Lock()
	defer sharedMu.Unlock()
	for _, s := range shared {
		openings, broken := s.end()
		if testing.Verbose() {
			fmt.Fprintf(os.Stderr, "the device that tests share was opened %d times\n", openings)
		}
		if openings > 1 && broken == "" {
			fmt.Fprintf(os.Stderr, "the device that tests share was opened %d times, want once\n", openings)
			code = max(code, 1)
		}
	}
	return code
}
