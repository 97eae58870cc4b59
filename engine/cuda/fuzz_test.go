package cuda

import (
	"strings"
	"testing"
)

// A card is known by words of its name in any order, and not by a name with a word
// more that might tell another card from it.
func FuzzPeak(f *testing.F) {
	for _, name := range []string{"NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "NVIDIA H100 NVL", "GeForce RTX 4090 Laptop GPU", "H100 MIG 1g.10gb", "RTX 4090 D", "", "L4, L40"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		flops, ok := Peak(name)
		if ok && !(flops > 0) || ok && strings.Trim(name, " -,") == "" {
			t.Fatalf("%q: %v", name, flops)
		}
		if again, still := Peak("NVIDIA " + name + ", PCIe-80GB"); !strings.Contains(name, "H100") && (again != flops || still != ok) {
			t.Errorf("%q: %v, %v; with words that do not matter %v, %v", name, flops, ok, again, still)
		}
		if _, still := Peak(name + " Laptop"); still {
			t.Errorf("a part of %q is taken for the whole", name)
		}
	})
}
