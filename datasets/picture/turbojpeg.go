//go:build turbojpeg

package picture

// #cgo LDFLAGS: -lturbojpeg
// #include <turbojpeg.h>
import "C"

import (
	"errors"
	"fmt"
	"image"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// With the build tag turbojpeg, libturbojpeg (Debian: libturbojpeg0-dev) decodes JPEG
// files: bit for bit like PIL, and several times as fast as Go's decoder.
func init() { DecodeJPEG, Decoder = decodeTurboJPEG, "turbojpeg" }

// turboJPEG is an instance of the library. It decodes one picture at a time.
type turboJPEG struct {
	handle                         C.tjhandle
	width, height, sampling, space C.int // of the current picture
}

var idleTurboJPEGs sync.Pool

func newTurboJPEG() (*turboJPEG, error) {
	if d, ok := idleTurboJPEGs.Get().(*turboJPEG); ok {
		return d, nil
	}
	d := &turboJPEG{handle: C.tjInitDecompress()}
	if d.handle == nil {
		return nil, errors.New(C.GoString(C.tjGetErrorStr2(nil)))
	}
	runtime.AddCleanup(d, func(h C.tjhandle) { C.tjDestroy(h) }, d.handle)
	return d, nil
}

func (d *turboJPEG) failure() error {
	return errors.New(C.GoString(C.tjGetErrorStr2(d.handle)))
}

func decodeTurboJPEG(data []byte, p *Picture) error {
	d, err := newTurboJPEG()
	if err != nil {
		return err
	}
	if err := d.decode(data, p); err != nil {
		return jpegError(data, err, false) // d is not reused: it may still be reading this file's header
	}
	idleTurboJPEGs.Put(d)
	return nil
}

func (d *turboJPEG) decode(data []byte, p *Picture) error {
	in, size := (*C.uchar)(unsafe.Pointer(unsafe.SliceData(data))), C.ulong(len(data))
	d.width, d.height, d.sampling, d.space = 0, 0, 0, -1
	status := C.tjDecompressHeader3(d.handle, in, size, &d.width, &d.height, &d.sampling, &d.space)
	// The library can decode samplings that it has no constant for.
	unnamed := d.sampling < 0 && d.space >= 0
	if status != 0 && !unnamed || d.width == 0 {
		return fmt.Errorf("header of the JPEG file: %w", d.failure())
	}
	if err := checkSize(image.Config{Width: int(d.width), Height: int(d.height)}); err != nil {
		return err
	}
	w, h := int(d.width), int(d.height)
	format, channels := C.int(C.TJPF_RGB), 3
	if d.space == C.TJCS_CMYK || d.space == C.TJCS_YCCK {
		format, channels = C.TJPF_CMYK, 4
	}
	p.Reset(w, h, channels)
	out := (*C.uchar)(unsafe.Pointer(unsafe.SliceData(p.Pix)))
	if C.tjDecompress2(d.handle, in, size, out, C.int(w), 0, C.int(h), format, 0) != 0 {
		// Like PIL, ignore warnings of the decoder, except for a picture with
		// a missing part.
		err := d.failure()
		if C.tjGetErrorCode(d.handle) != C.TJERR_WARNING || strings.Contains(err.Error(), "Premature end") {
			return fmt.Errorf("damaged JPEG file: %w", err)
		}
	}
	if channels == 4 {
		p.fromCMYK()
	}
	return nil
}

// fromCMYK converts a picture of four channels, inverted as Adobe writes them, to
// three.
func (p *Picture) fromCMYK() {
	n := p.Width * p.Height
	for i := range n {
		in := p.Pix[4*i:][:4]
		k := int(in[3])
		r, g, b := k-mulDiv255(255-int(in[0]), k), k-mulDiv255(255-int(in[1]), k), k-mulDiv255(255-int(in[2]), k)
		p.Pix[3*i], p.Pix[3*i+1], p.Pix[3*i+2] = uint8(clip(r)), uint8(clip(g)), uint8(clip(b))
	}
	p.Pix, p.Channels = p.Pix[:3*n], 3
}
