package pipeline

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// scaledDown holds settings that scale a preset of the paper down to a tiny network on tiny
// images, with one epoch per stage. It keeps the recipe: methods, optimizer, averages,
// augmentation, parts of the data and stages.
var scaledDown = []string{
	"model.width=16", "model.heads=2", "model.depth=4", "model.patch=16",
	"train.batch=8", "e2e.batch=8", "highres.batch=8", "train.min_lr=0", "highres.min_lr=0", "train.warmup_lr=0", "e2e.warmup_lr=0", "highres.warmup_lr=0",
	"train.warmup_epochs=0", "finetune.warmup_epochs=0", "e2e.warmup_epochs=0", "highres.warmup_epochs=0",
	"meta.epochs=1", "schedule=1+1", "e2e.epochs=1", "highres.epochs=1",
	"missing=[]", // the paper's baseline also needs features that are not built yet
}

// TestEveryPresetRuns executes all stages of the experiments of Tables 1 to 5 and of K, scaled
// down, on data in the real formats.
func TestEveryPresetRuns(t *testing.T) {
	infos, err := presets.List()
	if err != nil {
		t.Fatal(err)
	}
	pictures, cifar := pictureFolder(t), cifarFolder(t)
	ran := 0
	for _, info := range infos {
		if info.Abstract || info.Record || !strings.HasPrefix(info.Name, "table") {
			continue
		}
		ran++
		t.Run(info.Name, func(t *testing.T) {
			whole, err := presets.Load(info.Name, nil)
			if err != nil {
				t.Fatal(err)
			}
			sets := slices.Clone(scaledDown)
			switch whole.Data.Name {
			case "imagenet-1k":
				sets = append(sets, "data.name=folder", "data.root="+pictures, "model.image=32", "model.classes=4")
				if whole.HighRes.Image > 0 {
					sets = append(sets, "highres.image=48")
				}
			case "cifar-100":
				sets = append(sets, "data.root="+cifar, "data.train=100", "data.eval=100")
			}
			c, err := presets.Load(info.Name, sets)
			if err != nil {
				t.Fatal(err)
			}
			if err := Check(t.Context(), c, t.TempDir()); err != nil {
				t.Fatal(err)
			}
			dir := executeAll(t, c)
			state, err := runs.ReadState(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if state.Phase != runs.Finished || len(state.Results) != len(c.Run.Methods) {
				t.Fatalf("the run is %s with results of %d methods", state.Phase, len(state.Results))
			}
			for _, s := range method.Stages(c) {
				st := state.Stage(s.Name)
				steps := 8 // of 64 pictures
				if c.Data.Name == "cifar-100" {
					steps = 12
				}
				if !s.Trains() {
					steps = 0
				}
				if st.Phase != runs.Finished || st.Step != steps {
					t.Errorf("%s: %s after %d steps, want %d", s.Name, st.Phase, st.Step, steps)
				}
			}
		})
	}
	if ran != 22 {
		t.Errorf("%d presets ran, there are 22", ran)
	}
}

// pictureFolder writes a folder of JPEG files of several sizes: 4 classes with 16 pictures each
// for training and 2 for evaluation.
func pictureFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	chance := rand.New(rand.NewPCG(1, 1))
	for split, n := range map[string]int{"train": 16, "val": 2} {
		for class := range 4 {
			folder := filepath.Join(dir, split, fmt.Sprintf("n%08d", class))
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				picture := image.NewRGBA(image.Rect(0, 0, 40+chance.IntN(20), 36+chance.IntN(20)))
				base := color.RGBA{uint8(60 * class), uint8(chance.IntN(256)), uint8(chance.IntN(256)), 255}
				for j := range picture.Pix {
					picture.Pix[j] = uint8(j / 7)
				}
				for y := range 20 {
					for x := range 20 {
						picture.Set(x+i, y, base)
					}
				}
				var file bytes.Buffer
				if err := jpeg.Encode(&file, picture, nil); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.JPEG", i)), file.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return dir
}

// cifarFolder writes CIFAR-100 in its binary format with 60,000 images: 100 images of noise, one
// per class, repeated.
func cifarFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const pixels = 3 * 32 * 32
	chance := rand.NewChaCha8([32]byte{1})
	block := make([]byte, 0, 100*(2+pixels))
	info, err := datasets.Describe("cifar-100")
	if err != nil {
		t.Fatal(err)
	}
	for class := range info.Classes {
		record := make([]byte, 2+pixels)
		chance.Read(record)
		record[0], record[1] = byte(class/5), byte(class)
		block = append(block, record...)
	}
	for name, images := range map[string]int{"train.bin": 50000, "test.bin": 10000} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for range images / 100 {
			if _, err := f.Write(block); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "fine_label_names.txt"), []byte(strings.Join(info.Classes, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
