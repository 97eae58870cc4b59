package models

import (
	"fmt"
	"math"
)

// ResizePosEmbed resizes a position embedding [1, tokens, width] of a square grid of
// patches to v's grid, as DeiT does for fine-tuning at a higher resolution. It keeps the
// row of the class token and interpolates the others bicubically (torch's interpolate with
// mode="bicubic" and align_corners=False: a = -0.75, samples at the centres of the new
// cells, edges repeated). If the size is already right, it returns data itself.
func (v ViT) ResizePosEmbed(data []float32) ([]float32, error) {
	to := v.Image / v.Patch
	patches := len(data)/v.Width - 1
	from := int(math.Round(math.Sqrt(float64(patches))))
	if len(data)%v.Width != 0 || patches < 1 || from*from != patches {
		return nil, fmt.Errorf("pos_embed has %d elements, which is not a class token and a square grid of patches of width %d", len(data), v.Width)
	}
	if from == to {
		return data, nil
	}
	d := v.Width
	out := make([]float32, v.Tokens()*d)
	copy(out, data[:d])
	grid := data[d:]
	taps := bicubicTaps(from, to)
	for y, ty := range taps {
		for x, tx := range taps {
			cell := out[(1+y*to+x)*d:][:d]
			for i := range 4 {
				for j := range 4 {
					weight := ty.weight[i] * tx.weight[j]
					source := grid[(ty.index[i]*from+tx.index[j])*d:][:d]
					for k, s := range source {
						cell[k] += float32(weight) * s
					}
				}
			}
		}
	}
	return out, nil
}

// tap holds the four neighbours of a new cell on one axis, and their weights.
type tap struct {
	index  [4]int
	weight [4]float64
}

// bicubicTaps returns, for each of `to` new cells on an axis, its neighbours among `from`
// old ones.
func bicubicTaps(from, to int) []tap {
	taps := make([]tap, to)
	for i := range taps {
		centre := (float64(i)+0.5)*float64(from)/float64(to) - 0.5
		floor := math.Floor(centre)
		for j := range 4 {
			taps[i].index[j] = min(max(int(floor)+j-1, 0), from-1)
			taps[i].weight[j] = cubic(centre - floor - float64(j-1))
		}
	}
	return taps
}

// cubic returns Keys' convolution kernel with a = -0.75 at distance x.
func cubic(x float64) float64 {
	const a = -0.75
	x = math.Abs(x)
	switch {
	case x <= 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return ((a*x-5*a)*x+8*a)*x - 4*a
	}
	return 0
}
