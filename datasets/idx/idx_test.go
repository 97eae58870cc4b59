package idx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func read(r io.Reader, dims int) ([]int, []byte, error) {
	shape, err := ReadHeader(r, dims)
	if err != nil {
		return nil, nil, err
	}
	data, err := ReadData(r, shape)
	return shape, data, err
}

// The bytes are from the description of the format, not from Write.
func TestKnownBytes(t *testing.T) {
	file := []byte{0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 11, 12, 20, 21, 22}
	shape, data, err := read(bytes.NewReader(file), 3)
	if err != nil || !reflect.DeepEqual(shape, []int{2, 1, 3}) || !bytes.Equal(data, []byte{10, 11, 12, 20, 21, 22}) {
		t.Errorf("shape %v, data %v, error %v", shape, data, err)
	}
	var out bytes.Buffer
	if err := Write(&out, shape, data); err != nil || !bytes.Equal(out.Bytes(), file) {
		t.Errorf("written %v, error %v", out.Bytes(), err)
	}
	if size, err := FileSize(shape); err != nil || size != int64(len(file)) {
		t.Errorf("size %d, error %v", size, err)
	}
}

func TestMoreThanTheFirstChunk(t *testing.T) {
	for _, n := range []int{firstChunk - 1, firstChunk, firstChunk + 1, 5*firstChunk + 7} {
		in := make([]byte, n)
		for i := range in {
			in[i] = byte(i >> 9 * 31)
		}
		var file bytes.Buffer
		if err := Write(&file, []int{n}, in); err != nil {
			t.Fatal(err)
		}
		if _, out, err := read(&file, 1); err != nil || !bytes.Equal(in, out) {
			t.Errorf("%d bytes came back as %d, error %v", n, len(out), err)
		}
	}
}

func header(magic uint32, dims ...uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, magic)
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return b
}

func TestBadFiles(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":           {nil, "byte 0: the file is truncated, it should have 12 bytes"},
		"half a magic":    {[]byte{0, 0}, "byte 2: the file is truncated"},
		"wrong type":      {header(0x0d02, 1, 1), "byte 0: magic number is 0x00000d02, want 0x00000802"},
		"labels":          {header(0x0801, 1), "byte 0: magic number is 0x00000801, want 0x00000802 (unsigned bytes in 2 dimension(s))"},
		"not IDX":         {[]byte("\x89PNG\r\n\x1a\n"), "byte 0: magic number is 0x89504e47"},
		"half a header":   {header(0x0802, 1), "byte 8: the file is truncated, it should have 12 bytes"},
		"empty dimension": {header(0x0802, 1, 0), "byte 8: dimension 2 is 0"},
		"huge dimension":  {header(0x0802, 1<<31, 1), "byte 4: dimension 1 is 2147483648"},
		"huge product":    {header(0x0802, 1<<30, 1<<30), "byte 4: shape [1073741824 1073741824] has"},
		"truncated":       {append(header(0x0802, 2, 2), 1, 2, 3), "byte 15: the file is truncated, it should have 16 bytes"},
		"data at the end": {append(header(0x0802, 1, 2), 1, 2, 3), "byte 14: data after the last of 2 elements"},
		"2 GiB in header": {append(header(0x0802, math.MaxInt32, 1), 1, 2), "byte 14: the file is truncated, it should have 2147483659 bytes"},
		"nothing in it":   {header(0x0802, 0, 0), "byte 4: dimension 1 is 0"},
	} {
		_, _, err := read(bytes.NewReader(c.file), 2)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if strings.Contains(c.want, "truncated") && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: error is not io.ErrUnexpectedEOF", name)
		}
	}
}

// A large shape in the header alone must not allocate memory.
func TestHugeHeaderDoesNotAllocate(t *testing.T) {
	file := append(header(0x0801, math.MaxInt32), make([]byte, 3*firstChunk)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := read(bytes.NewReader(file), 1); err == nil {
		t.Error("no error")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8*uint64(len(file)) {
		t.Errorf("%d bytes allocated for a file of %d", n, len(file))
	}
}

func TestWriteRefusesAWrongShape(t *testing.T) {
	if err := Write(io.Discard, []int{2, 2}, make([]byte, 3)); err == nil {
		t.Error("no error")
	}
}

// Writing what was read gives the same bytes.
func FuzzRead(f *testing.F) {
	f.Add(append(header(0x0803, 2, 1, 2), 1, 2, 3, 4), 3)
	f.Add(append(header(0x0801, 3), 1, 2, 3), 1)
	f.Add(header(0x0802, 1<<16, 1<<16), 2)
	f.Fuzz(func(t *testing.T, file []byte, dims int) {
		if dims < 1 || dims > 255 {
			t.Skip()
		}
		shape, data, err := read(bytes.NewReader(file), dims)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, shape, data); err != nil || !bytes.Equal(out.Bytes(), file) {
			t.Errorf("%x was read as %v %x and written as %x, error %v", file, shape, data, out.Bytes(), err)
		}
	})
}
