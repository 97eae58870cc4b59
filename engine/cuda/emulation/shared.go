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

// Shared is an opened device, with what the tests of a package need on it, that
// they use one after another: on a card, opening it and compiling the kernels
// takes longer than most tests. A test that breaks the device, or ends its
// thread by failing on it, is the last one to use it; the next gets a fresh one.
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
	broken   string // the last test after which the device could not be used on
	failed   bool   // nor could a fresh one be opened then
}

var (
	shared   []closer // in this process
	sharedMu sync.Mutex
)

// closer is a Shared of any kind.
type closer interface {
	giveUp(test string)
	end() (openings int, broken string)
}

// Share makes a device for tests to share. open is called at the first use; the
// value that it returns is what Get gives, and the device is the one below it,
// which closeAll closes with everything else.
func Share[T any](open func() (T, *driver.Device, error), closeAll func(T)) *Shared[T] {
	s := &Shared[T]{open: open, closeAll: closeAll}
	sharedMu.Lock()
	defer sharedMu.Unlock()
	shared = append(shared, s)
	return s
}

// Get returns the shared value, for as long as the test runs. When the test ends, the
// device must still answer, and over the emulation, where nobody else allocates,
// have as much free memory as before.
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
			// CUDA does not promise that a process whose kernel went wrong can
			// go on. That is the fault of the test that is named.
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
	before, err := look(device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.device != device {
			return // given up already
		}
		switch free, err := look(device); {
		case err != nil:
			s.broken = t.Name()
			s.drop()
			if errors.Is(err, driver.ErrClosed) { // the test failed on the device's thread
				return
			}
			t.Errorf("the device cannot be used after this test: %v", err)
			// Nor can what others have on it: a context is the whole process's.
			sharedMu.Lock()
			defer sharedMu.Unlock()
			for _, other := range shared {
				if other != closer(s) {
					other.giveUp(t.Name())
				}
			}
		case !Real() && free != before:
			t.Errorf("the test leaves %d bytes of the device's memory allocated", before-free)
		}
	})
	return s.value
}

// look waits for a device and returns how much of its memory is free.
func look(d *driver.Device) (free int64, err error) {
	err = d.Do(func(c *driver.Context) (err error) {
		if err := c.Synchronize(); err != nil {
			return err
		}
		free, _, err = c.MemInfo()
		return err
	})
	return free, err
}

// drop closes what is open.
func (s *Shared[T]) drop() {
	if s.device != nil {
		s.closeAll(s.value)
		s.device = nil
	}
}

// giveUp closes what a test of somebody else's has broken.
func (s *Shared[T]) giveUp(test string) {
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

// Main runs the tests of a package and closes what they share. It is the exit
// code; that of a failure if a device was opened more than once though no test
// broke it.
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
