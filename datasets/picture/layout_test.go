package picture

import (
	"slices"
	"testing"
)

// at returns a value of a picture, or 0 outside of it.
func (p *Picture) at(x, y, c int) uint8 {
	if x < 0 || x >= p.Width || y < 0 || y >= p.Height {
		return 0
	}
	return p.Pix[(y*p.Width+x)*p.Channels+c]
}

func numbered(w, h, c int) *Picture {
	p := &Picture{}
	p.Reset(w, h, c)
	for i := range p.Pix {
		p.Pix[i] = uint8(i + 1)
	}
	return p
}

func TestLayout(t *testing.T) {
	for _, c := range []int{1, 2, 3, 4} {
		p := numbered(5, 4, c)
		planes := make([]uint8, len(p.Pix))
		p.Planes(planes)
		for y := range 4 {
			for x := range 5 {
				for k := range c {
					if planes[(k*4+y)*5+x] != p.at(x, y, k) {
						t.Fatalf("%d channels: planes %v", c, planes)
					}
				}
			}
		}
		var back Picture
		if back.SetPlanes(planes, 5, 4, c); !slices.Equal(back.Pix, p.Pix) {
			t.Errorf("%d channels: %v there and back", c, back.Pix)
		}
		for _, box := range [][4]int{{0, 0, 5, 4}, {1, 2, 3, 2}, {-2, -1, 5, 4}, {3, 2, 5, 4}, {-9, 0, 4, 4}, {5, 0, 2, 2}, {0, 4, 2, 2}, {-3, -3, 12, 11}} {
			var q Picture
			q.Reset(20, 20, c)
			for i := range q.Pix {
				q.Pix[i] = 99
			}
			q.Crop(p, box[0], box[1], box[2], box[3])
			for y := range box[3] {
				for x := range box[2] {
					for k := range c {
						if q.at(x, y, k) != p.at(x+box[0], y+box[1], k) {
							t.Fatalf("%d channels: crop %v: %v", c, box, q.Pix)
						}
					}
				}
			}
		}
		for _, w := range []int{5, 6} {
			p := numbered(w, 3, c)
			q := numbered(w, 3, c)
			q.Mirror()
			for y := range 3 {
				for x := range w {
					for k := range c {
						if q.at(x, y, k) != p.at(w-1-x, y, k) {
							t.Fatalf("%d channels: mirrored %v", c, q.Pix)
						}
					}
				}
			}
		}
	}
}

func TestPosterizeToNothingIsBlack(t *testing.T) {
	p := numbered(3, 3, 3)
	if p.Posterize(0); slices.Max(p.Pix) != 0 {
		t.Errorf("%v", p.Pix)
	}
}
