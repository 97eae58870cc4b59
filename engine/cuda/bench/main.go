//go:build gpu

// Command bench makes training steps of a vision transformer on a GPU, for the program
// lease in the folder beside it. Flags describe the network. Each line of the input is a
// command, and each answer is a line of JSON:
//
//	steps N    makes N steps; the seconds
//	replay N   makes N steps without work of the host between them; the microseconds
//	           of a step on the device, and of the host to launch it
//	profile N  the mean microseconds of each kind of operation in a step
//	choices N  for each product of a step the mean microseconds of N runs of each
//	           algorithm that cublasLt lists, and which of them a step uses
//	roof N     bytes per second of a copy of 64 N² bytes, operations per second of a
//	           product of [N, N] matrices
//
// The first line of output tells that the network is ready, and what was chosen by timing.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"time"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cuda"
	"hatchery/engine/random"
	"hatchery/models"
	"hatchery/presets"
)

func main() {
	log.SetFlags(0)
	v := models.ViT{Channels: 3, MLPRatio: 4, QKVBias: true, NormEps: 1e-6}
	for _, f := range []struct {
		name  string
		value *int
	}{{"image", &v.Image}, {"patch", &v.Patch}, {"width", &v.Width}, {"depth", &v.Depth}, {"heads", &v.Heads}, {"classes", &v.Classes}} {
		flag.IntVar(f.value, f.name, 0, "as in a preset's [model]")
	}
	batch := flag.Int("batch", 0, "images in a step")
	micro := flag.Int("micro", 0, "images in a pass; 0: batch")
	drop := flag.Float64("drop-path", 0, "rate of the last block")
	untimed := flag.Bool("untimed", false, "use cublasLt's first algorithms and all epilogues instead of timing")
	flag.Parse()
	j, err := job(v, *batch, *micro, *drop)
	if err != nil {
		log.Fatal(err)
	}
	if !*untimed {
		j.Tunings = new(memory)
	}
	if err := serve(os.Stdin, os.Stdout, v, j); err != nil {
		log.Fatal(err)
	}
}

// memory keeps a tuning in memory.
type memory struct{ data []byte }

// Load implements backend.Tunings.
func (m *memory) Load() (own backend.Tuning, others []backend.Tuning, err error) {
	return backend.Tuning{Data: m.data}, nil, nil
}

// Save implements backend.Tunings.
func (m *memory) Save(data []byte) error {
	m.data = data
	return nil
}

// serve executes the commands in the input for a job.
func serve(in io.Reader, out io.Writer, v models.ViT, j *backend.Job) error {
	answer := json.NewEncoder(out).Encode
	b, err := cuda.Open([]int{0})
	if err != nil {
		return err
	}
	defer b.Close()
	made, err := b.NewTrainer(j)
	if err != nil {
		return err
	}
	defer made.Close()
	t := made.(cuda.Profiler)
	images := noise(v, j.Recipe.Batch)
	ready := map[string]any{"ready": b.Info().Name, "remarks": t.Remarks()}
	if m, ok := j.Tunings.(*memory); ok {
		ready["chosen"] = json.RawMessage(m.data)
	}
	if err := answer(ready); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var command string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &command, &n); err != nil || n < 1 {
			return fmt.Errorf("%q: want a word and a number above 0", lines.Text())
		}
		var values any
		switch command {
		case "steps":
			values, err = steps(t, images, n)
		case "replay":
			var device, host time.Duration
			device, host, err = t.Replay(n)
			values = map[string]float64{"device_us": microseconds(device), "host_us": microseconds(host)}
		case "profile":
			values, err = profile(t, n)
		case "choices":
			values, err = choices(t, n)
		case "roof":
			var r cuda.Roof
			r, err = cuda.MeasureRoof(0, 64*int64(n)*int64(n), n)
			values = map[string]float64{"copy": r.Copy, "product": r.Product}
		default:
			return fmt.Errorf("%q: unknown command", lines.Text())
		}
		if err != nil {
			return err
		}
		if err := answer(values); err != nil {
			return err
		}
	}
	return lines.Err()
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// job returns the training of a network from end to end with DeiT's recipe.
func job(v models.ViT, batch, micro int, drop float64) (*backend.Job, error) {
	d, err := models.NewDivision(v, 1, nil, 1)
	if err != nil {
		return nil, err
	}
	n := d.TargetNet()
	j := &backend.Job{
		Learners: []backend.Learner{{Stage: "bench", Network: n}},
		Recipe: presets.Recipe{Batch: batch, MicroBatch: micro, DropPath: drop, Optimizer: "adamw", Betas: []float64{0.9, 0.999}, Eps: 1e-8,
			WeightDecay: 0.05},
		Weights: backend.Weights{}, Purpose: "bench",
		Pixels: &backend.Pixels{Mean: []float32{0.5, 0.5, 0.5}, Std: []float32{0.25, 0.25, 0.25}, Smoothing: 0.1, Erase: true},
	}
	for _, p := range n.Params() {
		j.Weights[p.Leaf()] = models.Initialize(p.Param, 0, p.Owner)
	}
	j.Build = func(ctx context.Context, _ []int, o models.BuildOptions) (*models.Graph, error) {
		return models.BuildTraining(ctx, []models.Network{n}, o)
	}
	return j, nil
}

// noise returns a raw batch like the loader's: bytes, to be normalised, mixed and erased on the
// device. A quarter of every fourth image is erased.
func noise(v models.ViT, batch int) *datasets.Batch {
	b := &datasets.Batch{Size: batch, Pixels: make([]uint8, batch*v.Channels*v.Image*v.Image), Labels: make([]int32, batch),
		Erase: make([]datasets.Erase, batch), Mixes: []datasets.Mix{{Lambda: 0.7}}, Group: batch}
	r := random.New(0, "bench")
	for i := range b.Pixels {
		b.Pixels[i] = uint8(r.Uint64())
	}
	for i := range b.Labels {
		b.Labels[i] = int32(r.IntN(v.Classes))
		if i%4 == 0 {
			half := int32(v.Image / 2)
			b.Erase[i] = datasets.Erase{Y1: half, X1: half, Key: uint64(i + 1)}
		}
	}
	return b
}

// steps times steps as in a run, with copies of batches to the device and of losses back.
func steps(t backend.Trainer, b *datasets.Batch, n int) (any, error) {
	loss := make([]float64, 1)
	if err := t.Losses(loss); err != nil { // waits
		return nil, err
	}
	start := time.Now()
	for range n {
		if err := t.Step(b, 1e-5); err != nil {
			return nil, err
		}
		b.Step++
	}
	loss[0] = 0
	if err := t.Losses(loss); err != nil {
		return nil, err
	}
	return map[string]any{"seconds": time.Since(start).Seconds(), "loss": loss[0] / float64(n)}, nil
}

// kind is the total of all operations with the same name and kernel.
type kind struct {
	Name         string
	Kernel       string
	Count        int
	Microseconds float64
	Bytes, FLOPs int64
}

func profile(t cuda.Profiler, n int) (any, error) {
	timings, err := t.Profile(n)
	if err != nil {
		return nil, err
	}
	var all []*kind
	for _, x := range timings {
		i := slices.IndexFunc(all, func(k *kind) bool { return k.Name == x.Name && k.Kernel == x.Kernel })
		if i < 0 {
			i = len(all)
			all = append(all, &kind{Name: x.Name, Kernel: x.Kernel})
		}
		k := all[i]
		k.Count++
		k.Microseconds += microseconds(x.Time)
		k.Bytes += x.Bytes
		k.FLOPs += x.FLOPs
	}
	return all, nil
}

// choice is a cuda.Choice in microseconds.
type choice struct {
	Product      string
	Count        int
	Chosen       int // from 0
	Microseconds []float64
}

func choices(t cuda.Profiler, n int) (any, error) {
	all, err := t.Choices(n)
	var list []choice
	for _, x := range all {
		c := choice{Product: x.Product, Count: x.Count, Chosen: x.Chosen}
		for _, took := range x.Times {
			c.Microseconds = append(c.Microseconds, microseconds(took))
		}
		list = append(list, c)
	}
	return list, err
}
