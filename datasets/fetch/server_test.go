package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// content is the server's file. It is larger than a connection's buffers.
var content = func() []byte {
	b := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

func fileOf(data []byte) File {
	sum := sha256.Sum256(data)
	return File{Set: "set", Name: "data.bin", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

// serve starts a server of the content with the given, possibly faulty handler. It
// returns the file and the number of requests.
func serve(t *testing.T, handle http.HandlerFunc) (File, *atomic.Int64) {
	t.Helper()
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	f := fileOf(content)
	f.URL = s.URL + "/data.bin"
	return f, &requests
}

// good serves the content without faults.
func good(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// cut serves at most n bytes and then breaks the connection.
func cut(n int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		good(&cutter{w, n}, r)
	}
}

type cutter struct {
	http.ResponseWriter
	left int64
}

func (c *cutter) Write(p []byte) (int, error) {
	n, _ := c.ResponseWriter.Write(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func whole(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data)
	}
}

// chunked serves data without its length.
func chunked(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		w.Write(data)
	}
}

// alternating answers each request with the next handler, and with the last one from
// then on.
func alternating(handlers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		handlers[min(int(n.Add(1)), len(handlers))-1](w, r)
	}
}

func refuse(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") == "" {
		good(w, r)
		return
	}
	w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
}

func wrongRange(w http.ResponseWriter, r *http.Request) {
	r.Header.Set("Range", "bytes=77-")
	good(w, r)
}
