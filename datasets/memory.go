package datasets

// listEntry is the approximate number of bytes for a picture that is loaded when it is
// needed: its label, name and position.
const listEntry = 64

// Memory estimates the memory that the sets of a source take once they are open, and the
// peak while Open reads them, in bytes. It opens no files, so it does not count the
// pictures of a folder, whose number is unknown.
func (src Source) Memory() (open, opening int64, err error) {
	d, err := lookup(src.Name)
	if err != nil {
		return 0, 0, err
	}
	each := int64(listEntry)
	if pixels := d.info.pixels(); pixels > 0 {
		each = int64(pixels) + 4 // with its label
	}
	train, eval := int64(d.info.Train)*each, int64(d.info.Eval)*each
	whole := train + eval
	opening = whole
	if _, ok := d.format.(idxFormat); ok {
		opening += train / 2 // the buffer grows while the file is read
	}
	// A part is a copy; the whole is freed afterwards.
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
		open = whole + parts // the whole stays in memory
	}
	return open, max(opening, whole+parts), nil
}

// Memory estimates the memory of a loader with these options, in bytes, for a set with the
// given numbers of channels, classes and images.
func (o Options) Memory(channels, classes, images int) int64 {
	const word = 8
	pixels := int64(channels) * int64(o.Size) * int64(o.Size)
	image := 4*pixels + 4*int64(classes)
	if o.Raw {
		image = pixels + 2*word*word // with its Erase
	}
	image += 4 + word // with its label and its index
	return int64(o.Prefetch+1)*int64(o.Batch)*image + int64(max(1, o.Workers))*pixels + word*int64(images)
}
