package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"hatchery/engine/printable"
)

// outlet is standard output or standard error of a command that trains. What is
// shown must not hold up what is done: Write only keeps the text, and a goroutine
// hands it on. Whether a reader is slow, has stopped reading or is gone, and
// whether the disk of a file is full, the command goes on; run folders have logs
// of their own.
type outlet struct {
	file *os.File
	wake *sync.Cond // of mu; whenever a field changes

	mu      sync.Mutex
	pending []byte
	writing bool
	moved   time.Time // when a part was last taken
	closed  bool
	err     error // the first, except of a reader that is gone, which needs no words
	done    chan struct{}
}

// chunk is how much is written at a time: what a reader takes of it is known
// when it has taken all.
const chunk = 4096

func newOutlet(f *os.File) *outlet {
	o := &outlet{file: f, moved: time.Now(), done: make(chan struct{})}
	o.wake = sync.NewCond(&o.mu)
	go o.pass()
	return o
}

// Write takes the text and never waits.
func (o *outlet) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) == 0 && !o.writing {
		o.moved = time.Now()
	}
	o.pending = append(o.pending, text...)
	o.wake.Broadcast()
	return len(text), nil
}

// Fd is that of the file: see terminalWidth.
func (o *outlet) Fd() uintptr { return o.file.Fd() }

func (o *outlet) pass() {
	defer close(o.done)
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		for len(o.pending) == 0 && !o.closed {
			o.wake.Wait()
		}
		if len(o.pending) == 0 {
			return
		}
		part := bytes.Clone(o.pending[:min(chunk, len(o.pending))])
		o.pending = o.pending[len(part):]
		o.writing = true
		o.mu.Unlock()
		_, err := o.file.Write(part)
		o.mu.Lock()
		o.writing, o.moved = false, time.Now()
		if err != nil && o.err == nil && !errors.Is(err, syscall.EPIPE) {
			o.err = err
		}
		o.wake.Broadcast()
	}
}

// enough is how much text may wait for a reader before nothing is added that can
// as well be read from a run's folder later.
const enough = 64 << 10

// room waits until there is room for more, or ctx is done, whose error it then
// returns.
func (o *outlet) room(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.wake.Broadcast()
	})()
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.pending) > enough && ctx.Err() == nil {
		o.wake.Wait()
	}
	return ctx.Err()
}

// idle returns how long a text has been waiting for its reader; 0 if none is.
func (o *outlet) idle() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) == 0 && !o.writing {
		return 0
	}
	return time.Since(o.moved)
}

// patience is how long it is waited at the end for a reader that takes nothing.
const patience = 2 * time.Second

// close hands on what is left, unless nobody reads, and returns why something
// could not be written. The goroutine of an outlet that nobody reads stays until
// the program ends: a write cannot be called off.
func (o *outlet) close() error {
	o.mu.Lock()
	o.closed = true
	o.moved = time.Now()
	o.wake.Broadcast()
	o.mu.Unlock()
	tick := time.NewTicker(patience / 20)
	defer tick.Stop()
	for {
		select {
		case <-o.done:
			return o.err
		case <-tick.C:
			if o.idle() > patience {
				return errors.New("its reader has stopped reading")
			}
		}
	}
}

// Unhurried makes what becomes of the output a matter of nobody else: a pipe whose
// reader is gone does not end the program, and one whose reader does not read
// does not hold it up. The function that it returns is to be called at the end of
// the command. It waits a while for readers that are behind.
func (a *App) Unhurried() (end func()) {
	// Not ignored but received: programs that are started by this one inherit
	// what is ignored.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	out, errs := newOutlet(os.Stdout), newOutlet(os.Stderr)
	safeOut, safeErrs := printable.NewWriter(out), printable.NewWriter(errs)
	a.Out, a.Err = safeOut, safeErrs
	return func() {
		safeOut.Flush()
		if err := out.close(); err != nil {
			fmt.Fprintf(safeErrs, "hatchery: some of the output could not be written: %v; `hatchery logs` shows it\n", err)
		}
		safeErrs.Flush()
		errs.close() // there is no place left to say why it cannot be written
		signal.Stop(broken)
	}
}
