package randaugment

import "hatchery/datasets/picture"

// op is an operation on a picture. The order is that of timm's list.
type op int

const (
	autoContrast op = iota
	equalize
	invert
	rotate
	posterize
	solarize
	solarizeAdd
	colour
	contrast
	brightness
	sharpness
	shearX
	shearY
	translateX
	translateY

	ops // their number
)

// signed reports whether the operation has two directions, of which one is drawn.
func (o op) signed(increasing bool) bool {
	switch o {
	case rotate, shearX, shearY, translateX, translateY:
		return true
	case colour, contrast, brightness, sharpness:
		return increasing
	}
	return false
}

// argument returns the operation's argument for a magnitude of 0 to 10 (timm's
// LEVEL_TO_ARG): degrees, bits to keep, a threshold, a number to add, the factor of a
// blend, a shear in pixels per pixel, or a fraction of the picture's size.
func (o op) argument(magnitude float64, negative, increasing bool) float64 {
	level := magnitude / maxLevel
	sign := 1.
	if negative {
		sign = -1
	}
	switch o {
	case rotate:
		return sign * (level * 30)
	case posterize:
		bits := float64(int(level * 4))
		if increasing {
			return 4 - bits
		}
		return bits
	case solarize:
		threshold := float64(min(256, int(level*256)))
		if increasing {
			return 256 - threshold
		}
		return threshold
	case solarizeAdd:
		return float64(min(128, int(level*110)))
	case colour, contrast, brightness, sharpness:
		if increasing {
			return max(0.1, 1+float64(sign*(level*0.9)))
		}
		return float64(level*1.8) + 0.1
	case shearX, shearY:
		return sign * (level * 0.3)
	case translateX, translateY:
		return sign * (level * 0.45)
	}
	return 0
}

// apply changes p. It uses the memory of spare, and may swap the two.
func (o op) apply(p, spare *picture.Picture, arg float64, fill []uint8) {
	switch o {
	case autoContrast:
		p.AutoContrast()
	case equalize:
		p.Equalize()
	case invert:
		p.Invert()
	case posterize:
		p.Posterize(int(arg))
	case solarize:
		p.Solarize(int(arg))
	case solarizeAdd:
		p.SolarizeAdd(int(arg))
	case colour:
		p.Colour(arg)
	case contrast:
		p.Contrast(arg)
	case brightness:
		p.Brightness(arg)
	case sharpness:
		spare.Sharpness(p, arg)
	case rotate:
		picture.Rotate(spare, p, arg, picture.Bicubic, fill)
	case shearX:
		picture.Affine(spare, p, [6]float64{1, arg, 0, 0, 1, 0}, picture.Bicubic, fill)
	case shearY:
		picture.Affine(spare, p, [6]float64{1, 0, 0, arg, 1, 0}, picture.Bicubic, fill)
	case translateX:
		picture.Affine(spare, p, [6]float64{1, 0, arg * float64(p.Width), 0, 1, 0}, picture.Bicubic, fill)
	case translateY:
		picture.Affine(spare, p, [6]float64{1, 0, 0, 0, 1, arg * float64(p.Height)}, picture.Bicubic, fill)
	}
	switch o {
	case rotate, sharpness, shearX, shearY, translateX, translateY:
		*p, *spare = *spare, *p
	}
}
