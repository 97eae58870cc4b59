package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

// golden is what testdata/golden.py saves as python.safetensors.
func golden() []Tensor {
	sevenths := make([]float32, 6)
	for i := range sevenths {
		sevenths[i] = float32(i) / 7
	}
	return []Tensor{
		{"step", []int{}, []float32{3}},
		{"head.weight", []int{2, 3}, sevenths},
		{"head.bias", []int{4}, []float32{float32(math.Copysign(0, -1)), float32(math.Inf(1)), math.Float32frombits(0x7fc00000), 1e-45}},
		{"empty", []int{0, 4}, []float32{}},
	}
}

func TestPythonReadsAndWritesTheSame(t *testing.T) {
	want, err := os.ReadFile("testdata/python.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	seal, err := Write(&got, golden(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("wrote\n%q\nPython wrote\n%q", got.Bytes(), want)
	}
	f, err := Read(bytes.NewReader(want), int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	if f.SHA256 != seal || len(f.Metadata) != 0 {
		t.Errorf("read seal %s and metadata %v, want %s and none", f.SHA256, f.Metadata, seal)
	}
	for _, w := range golden() {
		g, ok := f.Tensor(w.Name)
		if !ok || !reflect.DeepEqual(g.Shape, w.Shape) || !reflect.DeepEqual(bits(g.Data), bits(w.Data)) {
			t.Errorf("read %+v, want %+v", g, w)
		}
	}
}

func bits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i := range x {
		b[i] = math.Float32bits(x[i])
	}
	return b
}

func TestForeignFileHasNoSeal(t *testing.T) {
	data, err := os.ReadFile("testdata/foreign.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if f.SHA256 != "" || f.Metadata["format"] != "pt" || len(f.Tensors) != 1 {
		t.Errorf("read %+v", f)
	}
}

// TestLongTensor crosses the border of the conversion buffer.
func TestLongTensor(t *testing.T) {
	want := Tensor{Name: "é<b>\n", Shape: []int{3, bufferSize/4 + 1}, Data: make([]float32, 3*(bufferSize/4+1))}
	for i := range want.Data {
		want.Data[i] = float32(i)
	}
	var b bytes.Buffer
	if _, err := Write(&b, []Tensor{want}, map[string]string{"k": "v\"", "a": ""}); err != nil {
		t.Fatal(err)
	}
	f, err := Read(&b, int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.Tensors, []Tensor{want}) || !reflect.DeepEqual(f.Metadata, map[string]string{"k": "v\"", "a": ""}) {
		t.Errorf("read back %v with %v", f.Tensors[0].Name, f.Metadata)
	}
}

func TestEveryFlippedBitIsSeen(t *testing.T) {
	data, err := os.ReadFile("testdata/python.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			f, err := Read(bytes.NewReader(bad), int64(len(bad)))
			// A flip in the seal's key makes a file without a seal, which
			// the reader of a checkpoint refuses.
			if err == nil && f.SHA256 != "" {
				t.Errorf("byte %d, bit %d: not seen", i, bit)
			}
		}
	}
	for n := range data {
		if _, err := Read(bytes.NewReader(data[:n]), int64(n)); err == nil {
			t.Errorf("cut to %d bytes: not seen", n)
		}
		// The size is from before the file was cut.
		if _, err := Read(bytes.NewReader(data[:n]), int64(len(data))); err == nil {
			t.Errorf("cut to %d bytes while reading: not seen", n)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	file := func(header string, data int) []byte {
		b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
		return append(append(b, header...), make([]byte, data)...)
	}
	const a = `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "header length: EOF"},
		{file("", 0), "does not begin with {"},
		{file(" {}", 0), "does not begin with {"},
		{[]byte("\xff\xff\xff\xff\xff\xff\xff\xff{}"), "header length is 18446744073709551615"},
		{[]byte("\x00\x00\x00\x40\x00\x00\x00\x00{}"), "header length is 1073741824 bytes in a file of 10"},
		{file(`{`+a+`} x`, 8), "text after the closing"},
		{file(`{`+a+`}{}`, 8), "text after the closing"},
		{file(`{`+a+`,`+a+`}`, 8), `"a" appears twice`},
		{file(`{`+a+`}`, 12), "describes 8 bytes of data, but the file has 12"},
		{file(`{`+a+`}`, 4), "a: data at [0 8]"},
		{file(`{"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}`, 8), "a is BF16; only F32"},
		{file(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), "8 bytes of data for shape [3]"},
		{file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}}`, 9), "9 bytes of data for shape [2]"},
		{file(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8), "impossible shape"},
		{file(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "impossible shape"},
		{file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8), "a: data at [8 0]"},
		{file(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), "b: data at [4 12]"},
		{file(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}`, 20), "b: data at [12 20]"},
		{file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8), "unknown field"},
		{file(`{"a":7}`, 0), "cannot unmarshal"},
		{file(`{"__metadata__":{"k":1}}`, 0), "cannot unmarshal"},
	} {
		_, err := Read(bytes.NewReader(c.data), int64(len(c.data)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.90q: error %v, want %q", c.data, err, c.want)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	ok := Tensor{Name: "a", Shape: []int{2}, Data: make([]float32, 2)}
	for _, c := range []struct {
		tensors []Tensor
		meta    map[string]string
		want    string
	}{
		{[]Tensor{ok, ok}, nil, `two tensors are named "a"`},
		{[]Tensor{{Name: "", Shape: []int{}, Data: make([]float32, 1)}}, nil, `cannot be named ""`},
		{[]Tensor{{Name: "__metadata__", Shape: []int{}, Data: make([]float32, 1)}}, nil, "cannot be named"},
		{[]Tensor{{Name: "b", Shape: []int{2, 2}, Data: make([]float32, 3)}}, nil, "shape [2 2] does not fit 3"},
		{[]Tensor{{Name: "b", Shape: []int{-1, -2}, Data: make([]float32, 2)}}, nil, "shape [-1 -2]"},
		{[]Tensor{ok}, map[string]string{sealKey: "x"}, "for the seal"},
	} {
		var b bytes.Buffer
		if _, err := Write(&b, c.tensors, c.meta); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.tensors, err, c.want)
		}
		if b.Len() != 0 {
			t.Errorf("%v: wrote %d bytes", c.tensors, b.Len())
		}
	}
}

type fullDisk struct{ left int }

var errFull = errors.New("no space left")

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) > d.left {
		return d.left, errFull
	}
	d.left -= len(p)
	return len(p), nil
}

func TestWriteReportsAFullDisk(t *testing.T) {
	for left := range 300 {
		if _, err := Write(&fullDisk{left}, golden(), nil); !errors.Is(err, errFull) {
			t.Fatalf("%d bytes of space: error %v", left, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"python", "foreign"} {
		data, err := os.ReadFile("testdata/" + name + ".safetensors")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		// What was accepted must survive being written.
		var b bytes.Buffer
		if _, err := Write(&b, file.Tensors, file.Metadata); err != nil {
			if strings.Contains(err.Error(), "cannot be named") {
				return
			}
			t.Fatalf("read but not written: %v", err)
		}
		again, err := Read(&b, int64(b.Len()))
		if err != nil {
			t.Fatalf("written but not read: %v", err)
		}
		for _, x := range file.Tensors {
			y, ok := again.Tensor(x.Name)
			if !ok || !reflect.DeepEqual(x.Shape, y.Shape) || !reflect.DeepEqual(bits(x.Data), bits(y.Data)) {
				t.Fatalf("%q changed", x.Name)
			}
		}
	})
}

// TestVerify: Verify refuses what Read refuses, byte by byte, and keeps no data.
func TestVerify(t *testing.T) {
	var b bytes.Buffer
	seal, err := Write(&b, []Tensor{{Name: "a", Shape: []int{3}, Data: []float32{1, 2, 3}}, {Name: "b", Data: []float32{4}}}, map[string]string{"epoch": "1"})
	if err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	f, err := Verify(bytes.NewReader(whole), int64(len(whole)))
	if err != nil || f.SHA256 != seal || f.Metadata["epoch"] != "1" || len(f.Tensors) != 2 || f.Tensors[0].Data != nil {
		t.Fatalf("%+v, %v", f, err)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		_, read := Read(bytes.NewReader(bad), int64(len(bad)))
		if _, err := Verify(bytes.NewReader(bad), int64(len(bad))); (err == nil) != (read == nil) {
			t.Errorf("byte %d: Verify says %v, Read %v", i, err, read)
		}
		if _, err := Verify(bytes.NewReader(whole[:i]), int64(i)); err == nil {
			t.Errorf("the first %d bytes pass", i)
		}
	}
}
