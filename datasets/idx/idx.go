// Package idx reads and writes IDX files, the format of MNIST and of the data
// sets that replace it: a big-endian header (two zero bytes, a type, the number of
// dimensions, then each dimension in 32 bits) and the elements, the last dimension
// varying fastest. Only arrays of unsigned bytes (type 8) are supported; the image
// data sets have no others.
//
// The header and the elements are read separately, so that a caller can reject a
// shape before any element is read.
//
// Errors contain the position in the (decompressed) file; the caller adds the name
// of the file.
package idx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// MaxBytes is the largest number of elements that is accepted. A header with more is
// assumed to be damaged.
const MaxBytes = math.MaxInt32

// firstChunk is the number of bytes that are allocated before any element is read.
// Beyond it, memory grows with the elements.
const firstChunk = 1 << 20

func magic(dims int) uint32 { return 0x0800 | uint32(dims) }

func headerSize(dims int) int { return 4 + 4*dims }

// ReadHeader reads the header of an array of unsigned bytes with the given
// number of dimensions (1..255) and returns its shape.
func ReadHeader(r io.Reader, dims int) ([]int, error) {
	header := make([]byte, headerSize(dims))
	n, err := io.ReadFull(r, header)
	if n >= 4 { // a wrong magic number is a better explanation than a short header
		if got := binary.BigEndian.Uint32(header); got != magic(dims) {
			return nil, fmt.Errorf("byte 0: magic number is %#08x, want %#08x (unsigned bytes in %d dimension(s))", got, magic(dims), dims)
		}
	}
	if err != nil {
		return nil, readError(n, len(header), err)
	}
	shape := make([]int, dims)
	for i := range shape {
		at := headerSize(i)
		d := binary.BigEndian.Uint32(header[at:])
		if d == 0 || d > MaxBytes {
			return nil, fmt.Errorf("byte %d: dimension %d is %d, want 1 to %d", at, i+1, d, MaxBytes)
		}
		shape[i] = int(d)
	}
	if _, err := count(shape); err != nil {
		return nil, fmt.Errorf("byte 4: %w", err)
	}
	return shape, nil
}

// ReadData reads the elements that follow a header and checks that the file ends after
// them. It allocates memory as the elements arrive, not for the size in the header.
func ReadData(r io.Reader, shape []int) ([]byte, error) {
	size, err := count(shape)
	if err != nil {
		return nil, err
	}
	start := headerSize(len(shape))
	data := make([]byte, 0, min(size, firstChunk))
	for len(data) < size {
		if len(data) == cap(data) {
			data = slices.Grow(data, min(len(data), size-len(data)))
		}
		have := len(data)
		data = data[:min(cap(data), size)]
		if n, err := io.ReadFull(r, data[have:]); err != nil {
			return nil, readError(start+have+n, start+size, err)
		}
	}
	var extra [1]byte
	switch n, err := io.ReadFull(r, extra[:]); {
	case n > 0:
		return nil, fmt.Errorf("byte %d: data after the last of %d elements of the shape %v", start+size, size, shape)
	case err != io.EOF: // such as a wrong checksum of a compressed file
		return nil, readError(start+size, start+size, err)
	}
	return data, nil
}

// FileSize returns the size in bytes of the uncompressed file of an array.
func FileSize(shape []int) (int64, error) {
	n, err := count(shape)
	return int64(headerSize(len(shape)) + n), err
}

// Write writes an array; len(data) must be the product of the shape.
func Write(w io.Writer, shape []int, data []byte) error {
	n, err := count(shape)
	if err != nil {
		return err
	}
	if n != len(data) {
		return fmt.Errorf("idx: shape %v has %d elements, the data has %d", shape, n, len(data))
	}
	header := binary.BigEndian.AppendUint32(nil, magic(len(shape)))
	for _, d := range shape {
		header = binary.BigEndian.AppendUint32(header, uint32(d))
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// count returns the number of elements of a shape.
func count(shape []int) (int, error) {
	n := int64(1)
	for _, d := range shape {
		// Both factors fit 31 bits, so the product cannot overflow.
		if d <= 0 || d > MaxBytes || n*int64(d) > MaxBytes {
			return 0, fmt.Errorf("shape %v has no elements or more than %d", shape, MaxBytes)
		}
		n *= int64(d)
	}
	return int(n), nil
}

// readError returns the error of reading that failed at byte at of want.
func readError(at, want int, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("byte %d: the file is truncated, it should have %d bytes: %w", at, want, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("byte %d of %d: %w", at, want, err)
}
