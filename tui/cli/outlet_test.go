package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// pipe returns an outlet and the reading end of its pipe.
func pipe(t *testing.T) (*outlet, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return newOutlet(w), r
}

// TestOutlet checks that a slow reader gets everything in order.
func TestOutlet(t *testing.T) {
	o, r := pipe(t)
	var want bytes.Buffer
	for i := range 5000 {
		line := strings.Repeat(string(rune('a'+i%26)), 100) + "\n"
		want.WriteString(line)
		if _, err := io.WriteString(o, line); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan []byte)
	go func() {
		time.Sleep(100 * time.Millisecond)
		text, _ := io.ReadAll(r)
		got <- text
	}()
	if err := o.close(); err != nil {
		t.Fatal(err)
	}
	o.file.Close()
	if text := <-got; !bytes.Equal(text, want.Bytes()) {
		t.Errorf("%d bytes came, want %d", len(text), want.Len())
	}
}

// TestOutletUnread: a reader that reads nothing must not delay Write, and must delay close only briefly.
func TestOutletUnread(t *testing.T) {
	o, _ := pipe(t)
	began := time.Now()
	for range 100 {
		o.Write(make([]byte, 10_000)) // a megabyte: no pipe holds it
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("writing took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := o.waitForRoom(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("there is room: %v", err)
	}
	if err := o.close(); err == nil || !strings.Contains(err.Error(), "stopped reading") {
		t.Errorf("the end: %v", err)
	}
	if took := time.Since(began); took > 3*maxIdle {
		t.Errorf("all took %v", took)
	}
}

// TestOutletGone: a reader that has ended is not an error; a full disk is an error.
func TestOutletGone(t *testing.T) {
	o, r := pipe(t)
	r.Close()
	for range 100 {
		o.Write(make([]byte, 10_000))
	}
	if err := o.waitForRoom(t.Context()); err != nil {
		t.Error(err)
	}
	if err := o.close(); err != nil {
		t.Error(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("only Linux has a device that is always full")
	}
	defer full.Close()
	o = newOutlet(full)
	io.WriteString(o, "text")
	if err := o.close(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a full disk: %v", err)
	}
}
