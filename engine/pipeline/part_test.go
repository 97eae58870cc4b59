package pipeline

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/backend/host"
)

// TestPartCopy checks that a module that has only a copy of its part trains on the same batches
// as with the whole data set, and that nothing else can run on that copy.
func TestPartCopy(t *testing.T) {
	dir := t.TempDir()
	src := datasets.Source{Name: "fashion-mnist-5k"}
	if err := datasets.WriteParts(t.Context(), src, dir, 2, partitionSeed, datasets.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	on := host.Open(1)
	defer on.Close()
	sets := []string{"data.partition=true", "run.together=false", "data.train=0"}
	all := config(t, sets...)
	copied := config(t, append(sets, "data.root="+filepath.Join(dir, "part-2"))...)
	d, err := division(all)
	if err != nil {
		t.Fatal(err)
	}
	stage := stageOf(t, all, d, "module-2")
	want, got := batches(t, all, stage, on), batches(t, copied, stage, on)
	if want.Steps() != got.Steps() {
		t.Fatalf("%d steps, want %d", got.Steps(), want.Steps())
	}
	var pixels []float32
	var samples [][]int
	for b, err := range want.Epoch(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		pixels = append(pixels, b.Images[0], b.Images[len(b.Images)/2])
		samples = append(samples, slices.Clone(b.Samples))
	}
	for b, err := range got.Epoch(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Images[0] != pixels[2*b.Step] || b.Images[len(b.Images)/2] != pixels[2*b.Step+1] || !slices.Equal(b.Samples, samples[b.Step]) {
			t.Fatalf("step %d: another batch", b.Step)
		}
	}

	if err := CheckRemote(t.Context(), copied); err != nil {
		t.Error(err)
	}
	copied.Data.Partition = false
	if err := CheckRemote(t.Context(), copied); err == nil || !strings.Contains(err.Error(), "has only part 2 of 2 (seed 0) of the training images") {
		t.Errorf("error %v", err)
	}
}
