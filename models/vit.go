// Package models describes networks: their shape, their division into modules, their
// parameters under timm's names, and their cost.
//
// The terms are those of the paper (Deep Model Assembling, section 3): the target model is
// the one to be trained, the meta model is a shallow model that represents it, and hybrid
// network i is the meta model with module i replaced by the target's. Modules count from 1,
// as in the paper; blocks count from 0, as in timm.
package models

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ViT is the shape of a vision transformer (Dosovitskiy et al.; DeiT without
// distillation).
type ViT struct {
	Image    int     `toml:"image"`     // height and width, pixels
	Channels int     `toml:"channels"`  // of the image
	Patch    int     `toml:"patch"`     // height and width, pixels
	Width    int     `toml:"width"`     // embed_dim
	Depth    int     `toml:"depth"`     // number of blocks
	Heads    int     `toml:"heads"`     // of attention; must divide Width
	MLPRatio float64 `toml:"mlp_ratio"` // hidden width of the MLP over Width
	QKVBias  bool    `toml:"qkv_bias"`
	NormEps  float64 `toml:"norm_eps"` // of every LayerNorm
	Classes  int     `toml:"classes"`
}

// Patches returns the number of patches of an image.
func (v ViT) Patches() int { return (v.Image / v.Patch) * (v.Image / v.Patch) }

// Tokens returns the length of the sequence: the patches plus the class token.
func (v ViT) Tokens() int { return v.Patches() + 1 }

// HeadDim returns the width of one attention head.
func (v ViT) HeadDim() int { return v.Width / v.Heads }

// Hidden returns the hidden width of the MLP, rounded down as in timm.
func (v ViT) Hidden() int { return int(float64(v.Width) * v.MLPRatio) }

// An Invalid is the error of an invalid setting.
type Invalid struct {
	Key     string // in TOML, without its table: "heads", not "model.heads"
	Problem string // what is wrong and what to do about it
}

func (e *Invalid) Error() string { return e.Key + ": " + e.Problem }

func invalid(key, format string, args ...any) error {
	return &Invalid{key, fmt.Sprintf(format, args...)}
}

// Validate returns nil, or all problems as an [errors.Join] of *[Invalid].
func (v ViT) Validate() error {
	var errs []error
	positive := true
	for _, f := range []struct {
		key string
		n   int
	}{
		{"image", v.Image}, {"channels", v.Channels}, {"patch", v.Patch}, {"width", v.Width},
		{"depth", v.Depth}, {"heads", v.Heads}, {"classes", v.Classes},
	} {
		if f.n < 1 {
			positive = false
			errs = append(errs, invalid(f.key, "must be at least 1, is %d", f.n))
		}
	}
	if positive && v.Image%v.Patch != 0 {
		errs = append(errs, invalid("patch", "%d pixels do not divide the image's %d; use one of %s",
			v.Patch, v.Image, list(divisors(v.Image))))
	}
	if positive && v.Width%v.Heads != 0 {
		errs = append(errs, invalid("heads", "%d heads do not divide the width %d; use one of %s",
			v.Heads, v.Width, list(divisors(v.Width))))
	}
	if h := float64(v.Width) * v.MLPRatio; math.IsNaN(h) || h > math.MaxInt32 || (v.Width > 0 && h < 1) {
		errs = append(errs, invalid("mlp_ratio", "must give the MLP a hidden width of at least 1 and fewer than 2^31, is %v", v.MLPRatio))
	}
	if !(v.NormEps > 0) || math.IsInf(v.NormEps, 1) {
		errs = append(errs, invalid("norm_eps", "must be above 0, is %v; timm uses 1e-6", v.NormEps))
	}
	return errors.Join(errs...)
}

func divisors(n int) []int {
	var low, high []int
	for i := 1; i*i <= n; i++ {
		if n%i == 0 {
			low = append(low, i)
			if i*i != n {
				high = append([]int{n / i}, high...)
			}
		}
	}
	return append(low, high...)
}

// list writes numbers as "1, 2, 3".
func list(ns []int) string {
	s := make([]string, len(ns))
	for i, n := range ns {
		s[i] = strconv.Itoa(n)
	}
	return strings.Join(s, ", ")
}
