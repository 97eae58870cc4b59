package datasets

// listed is about what a picture that is loaded when it is needed takes in a
// set's list of files, bytes: its label, its name, its place.
const listed = 64

// Memory is what the sets of a source take in memory once they are open, and
// the most that they take while Open makes them, bytes. Nothing is known of a
// folder of pictures, and nothing is opened.
func (src Source) Memory() (open, opening int64, err error) {
	d, err := lookup(src.Name)
	if err != nil {
		return 0, 0, err
	}
	each := int64(listed)
	if pixels := d.info.pixels(); pixels > 0 {
		each = int64(pixels) + 4 // and its label
	}
	train, eval := int64(d.info.Train)*each, int64(d.info.Eval)*each
	whole := train + eval
	opening = whole
	if _, ok := d.format.(idxFormat); ok {
		opening += train / 2 // their memory grows while they are read
	}
	// A part is a copy, for which the whole is given up.
	parts := int64(0)
	switch {
	case src.Train > 0:
		train = int64(src.Train) * each
		parts += train
	case src.Fraction != 0 && src.Fraction != 1:
		train = int64(src.Fraction * float64(train))
		parts += train
	}
	if src.Eval > 0 {
		eval = int64(src.Eval) * each
		parts += eval
	}
	open = train + eval
	if _, ok := d.format.(embeddedFormat); ok {
		open = whole + parts // it stays for whoever opens it next
	}
	return open, max(opening, whole+parts), nil
}

// Memory is what a loader takes with the options, bytes, for a set of so many
// images and classes.
func (o Options) Memory(channels, classes, images int) int64 {
	const word = 8
	pixels := int64(channels) * int64(o.Size) * int64(o.Size)
	image := 4*pixels + 4*int64(classes)
	if o.Raw {
		image = pixels + 2*word*word // and how it is erased
	}
	image += 4 + word // its label and which it is
	return int64(o.Prefetch+1)*int64(o.Batch)*image + int64(max(1, o.Workers))*pixels + word*int64(images)
}
