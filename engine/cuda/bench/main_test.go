//go:build gpu

package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hatchery/engine/backend"
	"hatchery/engine/cuda/emulation"
	"hatchery/models"
)

// tiny is a network that the emulation trains quickly.
var tiny = models.ViT{Image: 8, Channels: 3, Patch: 4, Width: 16, Depth: 1, Heads: 2, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 10}

// tinyJob trains it in passes of micro images; 0: the batch.
func tinyJob(t *testing.T, micro int) *backend.Job {
	t.Helper()
	j, err := job(tiny, 4, micro, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestServe checks the answers to all commands.
func TestServe(t *testing.T) {
	emulation.Start(t, "../kernels/all.cu")
	var out bytes.Buffer
	j := tinyJob(t, 2)
	j.Tunings = new(memory)
	if err := serve(strings.NewReader("steps 2\nreplay 1\nprofile 1\nchoices 1\nroof 16\n"), &out, tiny, j); err != nil {
		t.Fatal(err)
	}
	var ready struct {
		Ready  string
		Chosen []struct {
			Card     string
			Products map[string]any
		}
	}
	var steps struct{ Seconds, Loss float64 }
	var replay, roof map[string]float64
	var kinds []kind
	var products []choice
	d := json.NewDecoder(&out)
	for _, answer := range []any{&ready, &steps, &replay, &kinds, &products, &roof} {
		if err := d.Decode(answer); err != nil {
			t.Fatal(err)
		}
	}
	if ready.Ready == "" || steps.Seconds <= 0 {
		t.Errorf("%+v, %+v", ready, steps)
	}
	if len(ready.Chosen) != 1 || ready.Chosen[0].Card == "" || len(ready.Chosen[0].Products) < 10 {
		t.Errorf("chosen: %+v", ready.Chosen)
	}
	if chance := math.Log(float64(tiny.Classes)); math.Abs(steps.Loss-chance) > 1 {
		t.Errorf("loss %v; that of chance is %.1f", steps.Loss, chance)
	}
	if len(kinds) < 10 {
		t.Errorf("%d kinds of operations", len(kinds))
	}
	for _, k := range kinds {
		if k.Count < 1 || k.Bytes <= 0 || k.Microseconds < 0 {
			t.Errorf("%+v", k)
		}
	}
	for _, p := range products {
		if p.Count < 1 || len(p.Microseconds) == 0 || p.Microseconds[0] <= 0 || p.Chosen < 0 || p.Chosen >= len(p.Microseconds) {
			t.Errorf("%+v", p)
		}
	}
	if len(products) < 10 {
		t.Errorf("%d products", len(products))
	}
	for _, x := range []float64{replay["device_us"], replay["host_us"], roof["copy"], roof["product"]} {
		if x <= 0 {
			t.Errorf("%v, %v", replay, roof)
		}
	}
}

func TestServeRefuses(t *testing.T) {
	emulation.Start(t, "../kernels/all.cu")
	for _, line := range []string{"steps", "steps 0", "sleep 1"} {
		if err := serve(strings.NewReader(line), new(bytes.Buffer), tiny, tinyJob(t, 0)); err == nil || !strings.Contains(err.Error(), line) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// TestLease runs the tests of the folder lease, which are Python's.
func TestLease(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the tests of the lease need python3")
		}
		t.Skip("no python3, which the tests of the lease need")
	}
	files, err := filepath.Glob("lease/*.py") // read here, so that `go test` knows when its result is old
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in lease: %v", len(files), err)
	}
	for _, f := range append(files, "../RESULTS.md") {
		if _, err := os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(python, "-W", "error::ResourceWarning", "-m", "unittest", "discover", "-s", "lease")
	c.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	output, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	t.Logf("%s", output)
}
