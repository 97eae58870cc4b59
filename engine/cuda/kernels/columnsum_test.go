//go:build gpu

package kernels_test

import (
	"fmt"
	"testing"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/rounding"
	"hatchery/engine/nn"
)

func TestColumnSum(t *testing.T) {
	on(t, func(d *device) {
		for _, m := range []struct{ rows, width int }{{1, 1}, {3, 5}, {33, 48}, {101, 540}, {7, 1001}, {40, 2160}, {4097, 6}} {
			for _, dt := range dtypes {
				d.free()
				name := fmt.Sprintf("%dx%d", m.rows, m.width)
				x := noise(dt, "x", m.rows*m.width)
				want := d.twin(nn.ColumnSum{M: m.rows, N: m.width}, []int{m.width}, x)[0]
				k := kernels.ColumnSum{T: dt, Rows: m.rows, Width: m.width, Y: d.out(kernels.F32, m.width), X: d.store(dt, x)}
				k.Scratch = d.alloc(k.ScratchBytes())
				d.run(k.Launches()...)
				y := d.load(kernels.F32, k.Y, m.width)
				d.near(name, y, want, rounding.Sum(m.rows))
				d.run(k.Launches()...)
				d.same(name+" again", d.load(kernels.F32, k.Y, m.width), y)
				k.Accumulate = true
				d.run(k.Launches()...)
				d.same(name+" accumulated", d.load(kernels.F32, k.Y, m.width), plus(y, y))
			}
		}
	})
}
