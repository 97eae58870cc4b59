package datasets

// Batch holds images that are ready for a network or, in its raw form, for a device
// that normalises, erases and mixes them itself (Options.Raw).
type Batch struct {
	Images  []float32 // Batch x Channels x Height x Width, normalised to mean 0 and deviation 1; nil if raw
	Targets []float32 // Batch x classes, each row a distribution; nil if raw
	Labels  []int32   // Batch; of the images before mixing
	Samples []int     // Batch; indices of the images in the set

	// The raw form, from which Loader.Finish computes Images and Targets. Pixels and
	// Erase are nil unless Options.Raw is set.
	Pixels []uint8 // Batch x Channels x Height x Width, after the changes of geometry and colour
	Erase  []Erase // Batch; the box that is then erased of each image
	Mixes  []Mix   // how the images of each group are then mixed

	// Group is the number of images of a group; the last may have fewer. Images
	// are mixed only within their group.
	Group int

	// Size is the number of rows that hold an image. It is less than Batch only in
	// the last batch of an evaluation. The other rows are zero in Images, Targets
	// and Pixels and -1 in Labels and Samples, so they add nothing to a sum of
	// losses or correct predictions.
	Size int

	Epoch, Step int // as given to Loader.Epoch; Step counts from 0
}

func newBatch(size, group int, spec *Spec, raw bool) Batch {
	b := Batch{Labels: make([]int32, size), Samples: make([]int, size), Group: group, Mixes: make([]Mix, (size+group-1)/group)}
	if raw {
		b.Pixels = make([]uint8, size*spec.pixels())
		b.Erase = make([]Erase, size)
	} else {
		b.Images = make([]float32, size*spec.pixels())
		b.Targets = make([]float32, size*len(spec.Classes))
	}
	return b
}

// blank clears a row that holds no image.
func (b *Batch) blank(row int) {
	b.Labels[row], b.Samples[row] = -1, -1
	if n := len(b.Labels); b.Pixels != nil {
		size := len(b.Pixels) / n
		clear(b.Pixels[row*size:][:size])
		b.Erase[row] = Erase{}
	} else {
		size, classes := len(b.Images)/n, len(b.Targets)/n
		clear(b.Images[row*size:][:size])
		clear(b.Targets[row*classes:][:classes])
	}
}

// normaliser maps a pixel of each channel to (pixel/255 - mean) / std.
type normaliser [][256]float32

func newNormaliser(spec *Spec) normaliser {
	n := make(normaliser, spec.Channels)
	for c := range n {
		mean, std := float64(spec.Mean[c]), float64(spec.Std[c])
		for v := range n[c] {
			n[c][v] = float32((float64(v)/255 - mean) / std)
		}
	}
	return n
}

// apply normalises one image.
func (n normaliser) apply(dst []float32, src []uint8) {
	plane := len(src) / len(n)
	for c := range n {
		table, out := &n[c], dst[c*plane:][:plane]
		for i, v := range src[c*plane:][:plane] {
			out[i] = table[v]
		}
	}
}

// Finish writes the Images and Targets of a raw batch of this loader: it normalises,
// then erases, then mixes, each for the whole batch. It is the reference for devices
// that process the raw form; a loader without Raw gives the same numbers.
func (l *Loader) Finish(b *Batch, images, targets []float32) {
	size, classes := l.spec.pixels(), len(l.spec.Classes)
	clear(images)
	clear(targets)
	for row := range b.Size {
		l.norm.apply(images[row*size:][:size], b.Pixels[row*size:][:size])
	}
	for row := range b.Size {
		b.Erase[row].apply(images[row*size:][:size], l.spec.Height, l.spec.Width)
	}
	for row := range b.Size {
		other := partner(row, b.Size, b.Group)
		mix := b.Mixes[row/b.Group]
		if row < other { // each pair once
			mix.images(images[row*size:][:size], images[other*size:][:size], l.spec.Height, l.spec.Width)
		}
		mix.target(targets[row*classes:][:classes], b.Labels[row], b.Labels[other], l.smoothing())
	}
}
