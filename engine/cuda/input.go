//go:build gpu

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
	"hatchery/engine/random"
)

// feeder copies batches to a program's input. The host writes a batch to pinned memory, a
// separate stream copies it to one of two staging buffers on the device, and the main
// stream copies it from there to the program's input. So a batch is transferred while the
// previous one is processed.
type feeder struct {
	stream  *driver.Stream
	pinned  [2]driver.Pinned
	staging [2]driver.Ptr
	copied  [2]*driver.Event // the batch is in the staging buffer; its pinned memory is free
	taken   [2]*driver.Event // the batch is in the program's input; its staging buffer is free
	input   driver.Ptr
	bytes   int64
	parts   []part
	next    int // number of the next batch
	draws   random.Stream
}

// part writes one part of a batch to memory.
type part struct {
	from, to int
	write    func(into driver.Pinned, b *datasets.Batch, lr float64)
}

// newFeeder makes a feeder for a program's inputs. drops maps names of inputs to their drop
// paths; batch is the number of images in a step.
func newFeeder(c *driver.Context, queue *driver.Stream, p *lower.Program, s *store, drops map[string]backend.DropPath, batch int) (*feeder, error) {
	f := &feeder{input: s.regions[lower.Input], bytes: p.InputBytes}
	var err error
	if f.stream, err = c.Stream(); err != nil {
		return nil, err
	}
	for i := range f.pinned {
		if f.pinned[i], err = s.host(c, p.InputBytes); err != nil {
			return f, err
		}
		clear(f.pinned[i].Bytes())
		if f.staging[i], err = s.alloc(c, queue, p.InputBytes); err != nil {
			return f, err
		}
		if f.copied[i], err = c.HostEvent(); err != nil {
			return f, err
		}
		if f.taken[i], err = c.Event(false); err != nil {
			return f, err
		}
	}
	for _, slot := range p.Inputs {
		write, err := f.writer(slot, drops, batch)
		if err != nil {
			return f, err
		}
		f.parts = append(f.parts, part{int(slot.Offset), int(slot.Offset + slot.Bytes), write})
	}
	return f, nil
}

// writer returns the function that writes a batch's data for a slot.
func (f *feeder) writer(slot lower.Slot, drops map[string]backend.DropPath, batch int) (func(driver.Pinned, *datasets.Batch, float64), error) {
	if d, ok := drops[slot.Name]; ok {
		return func(into driver.Pinned, b *datasets.Batch, _ float64) {
			d.Draw(driver.View[float32](into), &f.draws, b.Epoch, b.Step*batch)
		}, nil
	}
	switch slot.Name {
	case "images":
		return func(into driver.Pinned, b *datasets.Batch, _ float64) { copy(driver.View[float32](into), b.Images) }, nil
	case "targets":
		return func(into driver.Pinned, b *datasets.Batch, _ float64) { copy(driver.View[float32](into), b.Targets) }, nil
	case "labels":
		return func(into driver.Pinned, b *datasets.Batch, _ float64) { copy(driver.View[int32](into), b.Labels) }, nil
	case "pixels":
		return func(into driver.Pinned, b *datasets.Batch, _ float64) { copy(into.Bytes(), b.Pixels) }, nil
	case "mix":
		return func(into driver.Pinned, b *datasets.Batch, _ float64) {
			for i, m := range b.Mixes {
				kernels.Mix(m).Put(into.Bytes()[i*kernels.MixBytes:])
			}
		}, nil
	case "erase":
		return func(into driver.Pinned, b *datasets.Batch, _ float64) {
			for i, e := range b.Erase {
				kernels.Erase(e).Put(into.Bytes()[i*kernels.EraseBytes:])
			}
		}, nil
	case lower.RateName:
		return func(into driver.Pinned, _ *datasets.Batch, lr float64) {
			binary.LittleEndian.PutUint64(into.Bytes(), math.Float64bits(lr))
		}, nil
	}
	if strings.HasPrefix(slot.Name, "drop_path/") {
		return nil, fmt.Errorf("cuda: there is no drop path for the input %s", slot.Name)
	}
	return nil, fmt.Errorf("cuda: unknown input %s", slot.Name)
}

// feed queues the copying of a batch to the program's input before the next run in main.
// The caller may reuse the batch when feed returns.
func (f *feeder) feed(main *driver.Stream, b *datasets.Batch, lr float64) error {
	i := f.next % 2
	if f.next >= 2 {
		if err := f.copied[i].Synchronize(); err != nil {
			return err
		}
	}
	for _, p := range f.parts {
		p.write(f.pinned[i].Slice(p.from, p.to), b, lr)
	}
	if f.next >= 2 {
		if err := f.stream.Wait(f.taken[i]); err != nil {
			return err
		}
	}
	f.next++
	if err := f.stream.CopyToDevice(f.staging[i], f.pinned[i]); err != nil {
		return err
	}
	if err := f.stream.Record(f.copied[i]); err != nil {
		return err
	}
	if err := main.Wait(f.copied[i]); err != nil {
		return err
	}
	if err := main.CopyOnDevice(f.input, f.staging[i], f.bytes); err != nil {
		return err
	}
	return main.Record(f.taken[i])
}

func (f *feeder) close() {
	for i := range f.copied {
		for _, e := range []*driver.Event{f.copied[i], f.taken[i]} {
			if e != nil {
				e.Destroy()
			}
		}
	}
	f.stream.Destroy()
}
