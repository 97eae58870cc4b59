package datasets

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// A file of records is read correctly, or the error names it and the byte. The images have
// four pixels: mutating more would find no more.
func FuzzCIFARRecords(f *testing.F) {
	d := tinyCIFAR(&cifar100)
	d.info.Height, d.info.Width = 2, 2
	const n, label, size = 3, 2, 2 + 3*2*2
	var good []byte
	for i := range n {
		good = append(good, 19, byte(i))
		good = append(good, bytes.Repeat([]byte{byte(10 * i)}, size-label)...)
	}
	f.Add(good)
	f.Add(good[:size])
	f.Add(append(bytes.Clone(good), 1))
	f.Add([]byte{0, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4*len(good) {
			t.Skip("too long to be of use")
		}
		set := &Set{Spec: d.info.Spec, Labels: make([]int32, n), Images: make([]uint8, n*(size-label))}
		c := cifarReader{cifarFormat: d.format.(cifarFormat)}
		if err := c.readRecords(bytes.NewReader(data), "the file", set, 0, n); err != nil {
			if !strings.HasPrefix(err.Error(), "the file: byte ") || errors.Is(err, io.ErrUnexpectedEOF) != (len(data) < n*size && wholeLabels(data, size, len(set.Classes))) {
				t.Errorf("%d bytes: %v", len(data), err)
			}
			return
		}
		if len(data) != len(good) {
			t.Errorf("a file of %d bytes was accepted", len(data))
		}
		if err := set.check(); err != nil {
			t.Error(err)
		}
		for i := range n {
			if int(set.Labels[i]) != int(data[i*size+1]) || !bytes.Equal(set.Image(i), data[i*size+label:][:size-label]) {
				t.Errorf("image %d is not what the file has", i)
			}
		}
	})
}

// wholeLabels reports whether the labels of all complete records are valid.
func wholeLabels(data []byte, size, classes int) bool {
	for ; len(data) >= size; data = data[size:] {
		if int(data[1]) >= classes {
			return false
		}
	}
	return true
}
