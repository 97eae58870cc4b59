//go:build turbojpeg

package datasets

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"testing"

	"hatchery/datasets/picture"
)

// jpegs is a store of JPEG files in memory, which can be told to decode them in
// full.
type jpegs struct {
	files  [][]byte
	full   bool
	scales map[int]int // how many pictures were decoded at 1, 1/2, 1/4, ... of their size
}

func (s *jpegs) Load(i int, p *picture.Picture, least int) error {
	if s.full {
		least = 0
	}
	err := picture.Decode(s.files[i], p, least)
	s.scales[int(math.Round(float64(p.FileHeight)/float64(p.Height)))]++
	return err
}

// Large pictures are decoded at a reduced size, which changes what comes out by
// little, and never where the crop would be made larger.
func TestLargePicturesAreReduced(t *testing.T) {
	store := &jpegs{scales: map[int]int{}}
	set := &Set{Spec: Spec{Name: "jpegs", Classes: []string{"a"}, Channels: 3, Mean: make([]float32, 3), Std: []float32{1, 1, 1}}, Store: store}
	for i := range 12 {
		m := image.NewRGBA(image.Rect(0, 0, 300+10*i, 260))
		for y := range 260 {
			for x := range 300 + 10*i {
				v := 128 + 60*math.Sin(float64(x)/(9+float64(i))) + 50*math.Cos(float64(y)/12)
				m.SetRGBA(x, y, color.RGBA{uint8(v), uint8(255 - v), uint8(v/2 + float64(y)/4), 255})
			}
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 92}); err != nil {
			t.Fatal(err)
		}
		store.files = append(store.files, b.Bytes())
		set.Labels = append(set.Labels, 0)
	}
	l := trainLoader(t, set, Options{Batch: 12, Size: 32, Raw: true}, Training{Augment: Augment{ResizedCrop: [2]float64{0.08, 1}, Flip: 0.5}})
	pixels := func(full bool) (all []uint8) {
		store.full = full
		for epoch := range 4 {
			for b, err := range l.Epoch(t.Context(), epoch, 0) {
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, b.Pixels...)
			}
		}
		return all
	}
	got := pixels(false)
	if store.scales[1] == 0 || store.scales[2] == 0 || store.scales[4] == 0 {
		t.Errorf("pictures decoded at 1/1, 1/2, ...: %v", store.scales)
	}
	want := pixels(true)
	sum := 0.0
	for i, v := range got {
		sum += math.Abs(float64(v) - float64(want[i]))
	}
	if mean := sum / float64(len(got)); mean > 2 || mean == 0 {
		t.Errorf("reduced pictures differ by %.2f grey levels on average", mean)
	}
}
