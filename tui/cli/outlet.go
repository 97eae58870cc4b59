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

// outlet is the standard output or standard error of a command that trains. Output
// must not delay training: Write only stores the text, and a goroutine writes it.
// The command continues even if the reader of a pipe is slow, stops reading or ends, or
// the disk is full; the run's folder has a log of its own.
type outlet struct {
	file *os.File
	wake *sync.Cond // on mu; signalled whenever a field changes

	mu      sync.Mutex
	pending []byte
	writing bool
	written time.Time // when the last chunk was written
	closed  bool
	err     error // the first error, except that the reader has ended, as after `| head`
	done    chan struct{}
}

// chunk is the number of bytes to write at a time. It is small, so that written shows
// whether the reader still reads.
const chunk = 4096

func newOutlet(f *os.File) *outlet {
	o := &outlet{file: f, written: time.Now(), done: make(chan struct{})}
	o.wake = sync.NewCond(&o.mu)
	go o.writePending()
	return o
}

// Write implements io.Writer. It never blocks.
func (o *outlet) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) == 0 && !o.writing {
		o.written = time.Now()
	}
	o.pending = append(o.pending, text...)
	o.wake.Broadcast()
	return len(text), nil
}

// Fd returns the file's descriptor, for terminalWidth.
func (o *outlet) Fd() uintptr { return o.file.Fd() }

// writePending writes pending text to the file until the outlet is closed.
func (o *outlet) writePending() {
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
		o.writing, o.written = false, time.Now()
		if err != nil && o.err == nil && !errors.Is(err, syscall.EPIPE) {
			o.err = err
		}
		o.wake.Broadcast()
	}
}

// maxPending is the number of pending bytes above which display waits. It can read the
// events from the run's folder later.
const maxPending = 64 << 10

// waitForRoom waits until at most maxPending bytes are pending. If ctx is done first, it
// returns the error of ctx.
func (o *outlet) waitForRoom(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.wake.Broadcast()
	})()
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.pending) > maxPending && ctx.Err() == nil {
		o.wake.Wait()
	}
	return ctx.Err()
}

// idle returns how long pending text has been waiting for the reader, or 0 if none is
// pending.
func (o *outlet) idle() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) == 0 && !o.writing {
		return 0
	}
	return time.Since(o.written)
}

// maxIdle is how long a command waits at its end for a reader that does not read.
const maxIdle = 2 * time.Second

// close waits until the pending text is written and returns the first error. If the reader
// does not read, close returns an error, and the outlet's goroutine stays until the program
// ends, because a write cannot be cancelled.
func (o *outlet) close() error {
	o.mu.Lock()
	o.closed = true
	o.written = time.Now()
	o.wake.Broadcast()
	o.mu.Unlock()
	tick := time.NewTicker(maxIdle / 20)
	defer tick.Stop()
	for {
		select {
		case <-o.done:
			return o.err
		case <-tick.C:
			if o.idle() > maxIdle {
				return errors.New("its reader has stopped reading")
			}
		}
	}
}

// decoupleOutput makes the program independent of the readers of its output: it does not
// end if the reader of a pipe ends, and does not block if the reader is slow. The caller
// must call end at the end of the command; end waits a while for slow readers.
func (a *App) decoupleOutput() (end func()) {
	// SIGPIPE is caught rather than ignored, because child processes would inherit an
	// ignored signal.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	out, errs := newOutlet(os.Stdout), newOutlet(os.Stderr)
	safeOut, safeErrs := printable.NewWriter(out), printable.NewWriter(errs)
	a.Out, a.Err = safeOut, safeErrs
	return func() {
		_ = safeOut.Flush() // out.close returns the error
		if err := out.close(); err != nil {
			fmt.Fprintf(safeErrs, "hatchery: some of the output could not be written: %v; `hatchery logs` shows it\n", err)
		}
		_ = safeErrs.Flush() // there is nowhere to report it
		_ = errs.close()     // an error could not be reported anywhere
		signal.Stop(broken)
	}
}
