// Package randaugment changes pictures at random like timm's RandAugment (Cubuk et
// al., 2020, arXiv:1909.13719; DeiT uses "rand-m9-mstd0.5-inc1").
package randaugment

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"hatchery/datasets/picture"
	"hatchery/engine/random"
)

// Policy holds the parameters of RandAugment.
type Policy struct {
	Layers     int     // n: number of operations per picture, drawn with replacement
	Prob       float64 // p: probability that an operation is applied at all
	Magnitude  float64 // m: strength of an operation, 0 to 10
	Std        float64 // mstd: standard deviation of the magnitude; Inf means uniform in 0..m
	Max        float64 // mmax: maximum of the magnitude
	Increasing bool    // inc: the effect of every operation grows with the magnitude
}

// maxLevel is the maximum of the scale of magnitudes.
const maxLevel = 10

// Parse parses timm's notation: "rand" and any of m, n, p, mstd, mmax and inc, each
// with a number, separated by "-". Of timm's sets of operations (t) only the default is
// supported.
func Parse(text string) (*Policy, error) {
	p := &Policy{Layers: 2, Prob: 0.5, Magnitude: maxLevel, Max: maxLevel}
	parts := strings.Split(text, "-")
	if parts[0] != "rand" {
		return nil, fmt.Errorf(`RandAugment %q begins with %q, want "rand" as in "rand-m9-mstd0.5-inc1"`, text, parts[0])
	}
	seen := map[string]bool{}
	for _, part := range parts[1:] {
		digits := strings.IndexAny(part, "0123456789.")
		if digits < 1 {
			return nil, fmt.Errorf("RandAugment %q: %q is not a name with a number, such as m9", text, part)
		}
		key := part[:digits]
		if seen[key] {
			return nil, fmt.Errorf("RandAugment %q: %s is given twice", text, key)
		}
		seen[key] = true
		v, err := strconv.ParseFloat(part[digits:], 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, fmt.Errorf("RandAugment %q: %q is not a number", text, part[digits:])
		}
		limit, whole := 100., true
		switch key {
		case "m":
			p.Magnitude = v
		case "n":
			p.Layers = int(v)
		case "p":
			p.Prob, limit, whole = v, 1, false
		case "mstd":
			p.Std, limit, whole = v, math.Inf(1), false
			if v > 100 {
				p.Std = math.Inf(1)
			}
		case "mmax":
			// For 0, timm takes its default.
			p.Max, limit = v, maxLevel
			if v == 0 {
				p.Max = maxLevel
			}
		case "inc":
			p.Increasing, limit = v != 0, 1
		default:
			return nil, fmt.Errorf("RandAugment %q: unknown %q; known are m, n, p, mstd, mmax and inc", text, key)
		}
		if v > limit {
			return nil, fmt.Errorf("RandAugment %q: %s must be at most %v", text, key, limit)
		}
		if whole && v != math.Trunc(v) {
			return nil, fmt.Errorf("RandAugment %q: %s must be a whole number", text, key)
		}
	}
	return p, nil
}

// Apply changes pic, which has 1 or 3 channels, by draws from s: for every layer the
// operation, whether it is applied, its magnitude, and its direction. It uses the memory
// of spare, and may swap the two. Pixels from outside the picture get the colour fill.
func (p *Policy) Apply(s *random.Stream, pic, spare *picture.Picture, fill []uint8) {
	for range p.Layers {
		o := op(s.IntN(int(ops)))
		if p.Prob < 1 && s.Float64() >= p.Prob {
			continue
		}
		magnitude := p.Magnitude
		switch {
		case math.IsInf(p.Std, 1):
			magnitude *= s.Float64()
		case p.Std > 0:
			magnitude += float64(p.Std * s.NormFloat64())
		}
		magnitude = max(0, min(magnitude, p.Max))
		negative := o.signed(p.Increasing) && s.Float64() >= 0.5
		o.apply(pic, spare, o.argument(magnitude, negative, p.Increasing), fill)
	}
}

// Fill returns timm's colour for pixels from outside a picture: the mean pixel of a data
// set, given in 0..1 for each channel, rounded to bytes.
func Fill(mean []float32) []uint8 {
	fill := make([]uint8, len(mean))
	for i, m := range mean {
		fill[i] = uint8(min(255, math.RoundToEven(255*float64(m))))
	}
	return fill
}
