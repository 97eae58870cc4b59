package kernels

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestPTXIsOfTheSources wants kernels.sum, written with kernels.ptx, to be of
// the sources as they are: nobody needs nvcc unless they change.
func TestPTXIsOfTheSources(t *testing.T) {
	noted, err := os.ReadFile("kernels.sum")
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(noted)) {
		sum, file, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("kernels.sum: %q", line)
		}
		sums[file] = sum
	}
	files, err := filepath.Glob("*.cu*")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "kernels.ptx")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); sums[file] != hex.EncodeToString(sum[:]) {
			t.Errorf("%s is not what kernels.ptx was made with: run go generate ./engine/cuda/kernels (it needs nvcc 11.8)", file)
		}
	}
	if len(sums) != len(files) {
		t.Errorf("kernels.sum names %d files, there are %d", len(sums), len(files))
	}
}

func TestLayout(t *testing.T) {
	got := NewLayout([]int{1, 256, 257, 3}, []bool{true, false, true, false})
	want := Layout{
		Offsets:  []int{0, 256, 512, 1024},
		Elements: 1280,
		Chunks:   []int32{1, 2, 5, 5, 6},
		Starts:   []int32{0, 1, 2, 4, 5},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStateSurvivesTheDevice(t *testing.T) {
	want := State{Steps: 1 << 40, Diverged: 7, Norm: 0.1}
	b := make([]byte, StateBytes)
	want.Put(b)
	if got := ReadState(b); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestArgumentsThatDoNotFitPanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a size of 1 << 31 was cut off")
		}
	}()
	I32(1 << 31)
}
