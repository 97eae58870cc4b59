package cuda

import (
	"regexp"
	"slices"
	"strings"
)

// peaks lists the floating-point operations per second of cards' tensor cores, in bfloat16
// with float32 sums and without sparsity, from NVIDIA's data sheets. An entry matches a
// card whose name contains all words of the entry's name; the first match counts.
var peaks = []struct {
	name  string
	flops float64
}{
	{"A100", 312e12},
	{"H100 PCIe", 756e12}, {"H100 NVL", 835e12}, {"H100", 989e12},
	{"H200 NVL", 835e12}, {"H200", 989e12},
	{"GH200", 989e12}, {"B200", 2250e12},
	{"L40S", 362e12}, {"L40", 181e12}, {"L4", 121e12},
	{"RTX 4090", 165e12}, {"RTX 3090", 71e12},
}

// ignored matches words of a name that do not affect a card's speed. A card whose name has
// another word may be a part of a card (MIG) or have other clocks (Laptop, Ti, D).
var ignored = regexp.MustCompile(`^(cuda:[0-9]+|NVIDIA|GeForce|SXM[0-9]?|PCI[eE]|40GB|80GB|141GB|480GB|HBM[23]e?)$`)

// Peak returns the maximum number of floating-point operations per second in bfloat16
// matrix products for a card with the given name, and whether it is known.
func Peak(name string) (flops float64, ok bool) {
	words := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" -,", r) })
	for _, p := range peaks {
		left := slices.Clone(words)
		fits := true
		for w := range strings.FieldsSeq(p.name) {
			fits = fits && slices.Contains(left, w)
			left = slices.DeleteFunc(left, func(x string) bool { return x == w })
		}
		if fits {
			return p.flops, !slices.ContainsFunc(left, func(w string) bool { return !ignored.MatchString(w) })
		}
	}
	return 0, false
}
