//go:build gpu

package main

import (
	"bytes"
	"encoding/json"
	"errors"
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

// TestMain makes the test's binary the program itself where TestCompare asks
// for it.
func TestMain(m *testing.M) {
	if os.Getenv("HATCHERY_BENCH") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// tiny is the smallest of compare.py's networks.
var tiny = models.ViT{Image: 8, Channels: 3, Patch: 4, Width: 16, Depth: 1, Heads: 2, MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 10}

// tinyJob trains it, in passes of so many images; 0: of the batch.
func tinyJob(t *testing.T, micro int) *backend.Job {
	t.Helper()
	j, err := job(tiny, 4, micro, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestServe: what the program is asked for can be had.
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

// TestCompare: compare.py measures the program, without PyTorch.
func TestCompare(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("compare.py needs python3")
		}
		t.Skip("no python3, which compare.py needs")
	}
	emulation.Start(t, "../kernels/all.cu")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "results.json")
	c := exec.Command(python, "compare.py", "--alone", "--device", "cpu", "--cases", "tiny", "--rounds", "2", "--seconds", "0", "--roof", "16",
		"--hatchery", self, "--out", out)
	c.Env = append(os.Environ(), "HATCHERY_BENCH=1")
	said, err := c.Output()
	if err != nil {
		var failed *exec.ExitError
		errors.As(err, &failed)
		t.Fatalf("%v\n%s", err, failed.Stderr)
	}
	for _, want := range []string{"### tiny, batch 4", "- hatchery: ", "the host launches a step in", "| attention_backward |", "at the roof", "the fastest"} {
		if !strings.Contains(string(said), want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	var all struct {
		Tiny struct{ Rates struct{ Hatchery []float64 } }
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil || len(all.Tiny.Rates.Hatchery) != 2 {
		t.Errorf("%v: %s", err, b)
	}
}
