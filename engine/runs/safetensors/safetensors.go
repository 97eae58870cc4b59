// Package safetensors reads and writes files of named float32 tensors in Hugging Face's
// safetensors format, which PyTorch can read:
//
//	8 bytes   length of the header, little endian
//	header    JSON: {"__metadata__": {"key": "value"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
//	data      little endian, without gaps
//
// Write seals a file with a SHA-256 of its whole content. Read checks the seal, if there is
// one, so that a flipped bit is an error and not a wrong weight. Read accepts files of other
// programs if all tensors are float32.
package safetensors

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// Tensor is a named float32 array in row-major order. A scalar has no
// dimensions and one element.
type Tensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// File is the content of a file.
type File struct {
	Metadata map[string]string // without the seal
	Tensors  []Tensor          // in the order of their data
	SHA256   string            // the seal, in hexadecimal; empty if the file has none
}

// Tensor returns the tensor with the given name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i := slices.IndexFunc(f.Tensors, func(t Tensor) bool { return t.Name == name })
	if i < 0 {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

const (
	// sealKey is the metadata key of the seal: the SHA-256 of the whole file with 64
	// zeros in place of the seal itself.
	sealKey  = "hatchery.sha256"
	metaName = "__metadata__"

	// maxHeader is the reference implementation's limit, in bytes.
	maxHeader = 100 << 20
	// bufferSize is the number of bytes of tensor data that are converted at a time.
	bufferSize = 1 << 16
)

var unsealed = strings.Repeat("0", hex.EncodedLen(sha256.Size))

// entry describes a tensor in the header.
type entry struct {
	DType   string    `json:"dtype"`
	Shape   []int64   `json:"shape"`
	Offsets [2]uint64 `json:"data_offsets"` // from the end of the header, in bytes
}

// Write writes tensors, sorted by name as in the reference implementation, and metadata, and
// returns the seal. It fails if a name is empty or repeated, if a shape does not fit the
// data, or if metadata has the key of the seal, "hatchery.sha256".
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) (seal string, err error) {
	sorted := slices.SortedFunc(slices.Values(tensors), func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	if err := check(sorted, metadata); err != nil {
		return "", fmt.Errorf("safetensors: %w", err)
	}
	blank, err := header(sorted, metadata, unsealed)
	if err != nil {
		return "", fmt.Errorf("safetensors: header: %w", err)
	}
	sum := sha256.New()
	if err := write(sum, blank, sorted); err != nil {
		return "", fmt.Errorf("safetensors: %w", err)
	}
	seal = hex.EncodeToString(sum.Sum(nil))
	sealed, err := header(sorted, metadata, seal)
	if err != nil {
		return "", fmt.Errorf("safetensors: header: %w", err)
	}
	if err := write(w, sealed, sorted); err != nil {
		return "", fmt.Errorf("safetensors: %w", err)
	}
	return seal, nil
}

// check returns an error if Write cannot write the tensors, which are sorted by name.
func check(sorted []Tensor, metadata map[string]string) error {
	if _, ok := metadata[sealKey]; ok {
		return fmt.Errorf("metadata key %q is reserved for the seal of the file", sealKey)
	}
	for i, t := range sorted {
		if t.Name == "" || t.Name == metaName {
			return fmt.Errorf("a tensor cannot be named %q", t.Name)
		}
		if i > 0 && t.Name == sorted[i-1].Name {
			return fmt.Errorf("two tensors are named %q", t.Name)
		}
		shape := make([]int64, len(t.Shape))
		for d, n := range t.Shape {
			shape[d] = int64(n)
		}
		n, err := elements(shape)
		if err != nil || n != uint64(len(t.Data)) {
			return fmt.Errorf("%s: shape %v does not fit %d elements", t.Name, t.Shape, len(t.Data))
		}
	}
	return nil
}

// header returns the JSON header, padded with spaces so that the data begins
// at a multiple of 8 bytes.
func header(sorted []Tensor, metadata map[string]string, seal string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	put := func(v any) error {
		if err := enc.Encode(v); err != nil {
			return err
		}
		b.Truncate(b.Len() - 1) // the encoder's line break
		return nil
	}
	meta := map[string]string{sealKey: seal}
	maps.Copy(meta, metadata)
	b.WriteString(`{"` + metaName + `":`)
	if err := put(meta); err != nil {
		return nil, err
	}
	var at uint64
	for _, t := range sorted {
		e := entry{DType: "F32", Shape: make([]int64, len(t.Shape)), Offsets: [2]uint64{at, at + 4*uint64(len(t.Data))}}
		for d, n := range t.Shape {
			e.Shape[d] = int64(n)
		}
		at = e.Offsets[1]
		b.WriteByte(',')
		if err := put(t.Name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := put(e); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return b.Bytes(), nil
}

func write(w io.Writer, header []byte, tensors []Tensor) error {
	buf := binary.LittleEndian.AppendUint64(make([]byte, 0, bufferSize), uint64(len(header)))
	if _, err := w.Write(buf); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		for part := range slices.Chunk(t.Data, bufferSize/4) {
			buf = buf[:0]
			for _, x := range part {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// Read reads a file of the given size in bytes. It fails if a tensor is not float32, if the
// tensors do not cover the data exactly, or if the seal is wrong. It allocates no more
// memory for tensors than size.
func Read(r io.Reader, size int64) (*File, error) {
	sum := sha256.New()
	f, offsets, err := readHeader(r, size, sum)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	body := io.TeeReader(bufio.NewReaderSize(r, bufferSize), sum)
	buf := make([]byte, bufferSize)
	for i := range f.Tensors {
		t := &f.Tensors[i]
		t.Data = make([]float32, (offsets[i][1]-offsets[i][0])/4)
		for part := range slices.Chunk(t.Data, bufferSize/4) {
			b := buf[:4*len(part)]
			if _, err := io.ReadFull(body, b); err != nil {
				return nil, fmt.Errorf("safetensors: %s: %w", t.Name, err)
			}
			for j := range part {
				part[j] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*j:]))
			}
		}
	}
	if err := f.checkSeal(sum); err != nil {
		return nil, err
	}
	return f, nil
}

// ReadHeader is Read without the data of the tensors. It cannot check the seal.
func ReadHeader(r io.Reader, size int64) (*File, error) {
	f, _, err := readHeader(r, size, sha256.New())
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return f, nil
}

// Verify is ReadHeader, but also reads the data and checks the seal. It keeps no data.
func Verify(r io.Reader, size int64) (*File, error) {
	sum := sha256.New()
	f, offsets, err := readHeader(r, size, sum)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	var data uint64
	if n := len(offsets); n > 0 {
		data = offsets[n-1][1]
	}
	if _, err := io.CopyN(sum, r, int64(data)); err != nil {
		return nil, fmt.Errorf("safetensors: data: %w", err)
	}
	if err := f.checkSeal(sum); err != nil {
		return nil, err
	}
	return f, nil
}

// checkSeal compares the seal with the SHA-256 of the content that was read.
func (f *File) checkSeal(sum hash.Hash) error {
	if got := hex.EncodeToString(sum.Sum(nil)); f.SHA256 != "" && f.SHA256 != got {
		return fmt.Errorf("safetensors: corrupt file: its SHA-256 is %.12s..., not %.12s... as recorded", got, f.SHA256)
	}
	return nil
}

// readHeader returns the file without data, and the offsets of each tensor's data. It
// writes to sum the part of the content that the seal covers so far.
func readHeader(r io.Reader, size int64, sum hash.Hash) (*File, [][2]uint64, error) {
	var length [8]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, nil, fmt.Errorf("header length: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, nil, fmt.Errorf("header length is %d bytes in a file of %d", n, size)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	f, offsets, err := parse(text, uint64(size)-8-n)
	if err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	sum.Write(length[:])
	if f.SHA256 != "" {
		text = bytes.Replace(text, []byte(`"`+f.SHA256+`"`), []byte(`"`+unsealed+`"`), 1)
	}
	sum.Write(text)
	return f, offsets, nil
}

// parse reads the JSON header of a file with the given bytes of data.
func parse(text []byte, data uint64) (*File, [][2]uint64, error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, nil, errors.New("does not begin with {")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	f := &File{Metadata: map[string]string{}}
	type named struct {
		name string
		entry
	}
	var entries []named
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		name := tok.(string) // Token fails if a key is not a string
		if seen[name] {
			return nil, nil, fmt.Errorf("%q appears twice", name)
		}
		seen[name] = true
		if name == metaName {
			if err := dec.Decode(&f.Metadata); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		e := named{name: name}
		if err := dec.Decode(&e.entry); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		entries = append(entries, e)
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, nil, errors.New("there is text after the closing }")
	}
	f.SHA256 = f.Metadata[sealKey]
	delete(f.Metadata, sealKey)

	slices.SortStableFunc(entries, func(a, b named) int {
		// An empty tensor comes before another one at the same offset.
		return cmp.Or(cmp.Compare(a.Offsets[0], b.Offsets[0]), cmp.Compare(a.Offsets[1], b.Offsets[1]))
	})
	var at uint64
	var offsets [][2]uint64
	for _, e := range entries {
		if e.DType != "F32" {
			return nil, nil, fmt.Errorf("%s is %s; only F32 can be read", e.name, e.DType)
		}
		n, err := elements(e.Shape)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", e.name, err)
		}
		if e.Offsets[0] != at || e.Offsets[1] < at || e.Offsets[1] > data {
			return nil, nil, fmt.Errorf("%s: data at %v, want them to start at byte %d and end at or before %d", e.name, e.Offsets, at, data)
		}
		if (e.Offsets[1]-at)/4 != n || (e.Offsets[1]-at)%4 != 0 {
			return nil, nil, fmt.Errorf("%s: %d bytes of data for shape %v", e.name, e.Offsets[1]-at, e.Shape)
		}
		at = e.Offsets[1]
		t := Tensor{Name: e.name, Shape: make([]int, len(e.Shape))}
		for d, n := range e.Shape {
			t.Shape[d] = int(n)
		}
		f.Tensors = append(f.Tensors, t)
		offsets = append(offsets, e.Offsets)
	}
	if at != data {
		return nil, nil, fmt.Errorf("it describes %d bytes of data, but the file has %d", at, data)
	}
	return f, offsets, nil
}

// elements returns the number of elements of a shape, and an error if no file can hold them.
func elements(shape []int64) (uint64, error) {
	const most = math.MaxInt64 / 4
	n := uint64(1)
	for _, d := range shape {
		if d < 0 || d > 0 && n > most/uint64(d) {
			return 0, fmt.Errorf("impossible shape %v", shape)
		}
		n *= uint64(d)
	}
	return n, nil
}
