package picture

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Unsupported is the error for a file that this build cannot read because of its form. It
// is undamaged as far as can be seen without decoding it.
type Unsupported struct {
	Form string // "arithmetic coding"
	Hint string // what to do
}

func (u *Unsupported) Error() string {
	return fmt.Sprintf("valid, but this build cannot read it (%s); %s", u.Form, u.Hint)
}

// Hints for JPEG files.
const (
	otherBuild = "build with -tags turbojpeg, or " + convert
	convert    = "convert it to baseline JPEG or PNG"
)

// jpegError returns the error for a JPEG file that a decoder rejected with err: an
// Unsupported if the file is complete and of a form that the decoder does not read.
func jpegError(data []byte, err error, goDecoder bool) error {
	f := parseJPEG(data)
	if f == nil {
		return err
	}
	if form := f.rareForm(); form != "" {
		return &Unsupported{form, convert}
	}
	if form := f.goUnsupported(); goDecoder && form != "" {
		return &Unsupported{form, otherBuild}
	}
	return err
}

// Markers of JPEG (ITU-T T.81, Table B.1).
const (
	markSOF0  = 0xc0
	markSOF2  = 0xc2
	markSOF15 = 0xcf
	markDHT   = 0xc4
	markJPG   = 0xc8
	markDAC   = 0xcc
	markRST0  = 0xd0
	markRST7  = 0xd7
	markEOI   = 0xd9
	markSOS   = 0xda
	markDRI   = 0xdd
	markAPP14 = 0xee
)

// jpegForm describes the coding of a JPEG file.
type jpegForm struct {
	frame      byte // its SOF marker
	scans      int
	bits       int // per sample
	components int
	sampling   []byte // of each component: horizontal and vertical factor, four bits each
	restarts   bool   // the file has restart markers
	adobe      bool   // the file has Adobe's marker, which defines four components
}

// parseJPEG parses the markers of a file. It returns nil if they do not form a complete
// JPEG file. It does not decode the data between them, but checks the order of restart
// markers.
func parseJPEG(data []byte) *jpegForm {
	var f jpegForm
	for i := 2; ; { // after SOI
		start := i
		for i < len(data) && data[i] == 0xff { // several of them are padding
			i++
		}
		if i == start || i == len(data) {
			return nil
		}
		mark := data[i]
		i++
		switch {
		case mark == markEOI:
			if f.scans == 0 {
				return nil
			}
			return &f
		case mark >= markRST0 && mark <= markRST7:
			continue // after the data, where decoders ignore it
		case mark < markSOF0: // not a marker of an image
			return nil
		}
		if i+2 > len(data) {
			return nil
		}
		size := int(binary.BigEndian.Uint16(data[i:]))
		if size < 2 || i+size > len(data) {
			return nil
		}
		segment := data[i+2 : i+size]
		i += size
		switch {
		case mark >= markSOF0 && mark <= markSOF15 && mark != markDHT && mark != markJPG && mark != markDAC:
			if len(segment) < 6 || len(segment) != 6+3*int(segment[5]) || segment[5] == 0 || f.frame != 0 && !hierarchical(mark) {
				return nil
			}
			f.frame, f.bits, f.components, f.sampling = mark, int(segment[0]), int(segment[5]), nil
			for c := range f.components {
				factors := segment[7+3*c]
				if h, v := factors>>4, factors&15; h < 1 || h > 4 || v < 1 || v > 4 {
					return nil
				}
				f.sampling = append(f.sampling, factors)
			}
		case mark == markDRI:
			if len(segment) != 2 {
				return nil
			}
			f.restarts = f.restarts || segment[0] != 0 || segment[1] != 0
		case mark == markAPP14:
			f.adobe = f.adobe || strings.HasPrefix(string(segment), "Adobe")
		case mark == markSOS:
			if f.scans++; f.frame == 0 {
				return nil
			}
			if i = endOfScan(data, i); i < 0 {
				return nil
			}
		}
	}
}

// endOfScan returns the end of the coded data that begins at i, or -1 if its restart
// markers are out of order.
func endOfScan(data []byte, i int) int {
	for next := byte(markRST0); i+1 < len(data); i++ {
		if data[i] != 0xff {
			continue
		}
		switch mark := data[i+1]; {
		case mark == 0 || mark == 0xff: // an escaped byte of the data, or padding
		case mark == next:
			if next++; next > markRST7 {
				next = markRST0
			}
		case mark >= markRST0 && mark <= markRST7:
			return -1
		default:
			return i
		}
	}
	return -1
}

// hierarchical reports whether a frame is one of several frames of an image.
func hierarchical(frame byte) bool {
	return frame >= 0xc5 && frame <= 0xc7 || frame >= 0xcd && frame <= 0xcf
}

// rareForm returns the form of a file if no common decoder reads it, otherwise "".
func (f *jpegForm) rareForm() string {
	switch {
	case hierarchical(f.frame):
		return "hierarchical coding"
	case f.frame == 0xc3 || f.frame == 0xcb:
		return "lossless coding"
	case f.bits != 8:
		return fmt.Sprintf("%d bits per channel", f.bits)
	case f.components != 1 && f.components != 3 && f.components != 4:
		return fmt.Sprintf("%d channels", f.components)
	}
	return ""
}

// goUnsupported returns the form of a file if libjpeg-turbo reads it and Go's decoder
// does not, otherwise "".
func (f *jpegForm) goUnsupported() string {
	switch {
	case f.frame > markSOF2:
		return "arithmetic coding"
	case !f.goSamples():
		factors := make([]string, f.components)
		for c, s := range f.sampling {
			factors[c] = fmt.Sprintf("%dx%d", s>>4, s&15)
		}
		return "channels sampled " + strings.Join(factors, ", ")
	case f.components == 4 && !f.adobe:
		return "CMYK without Adobe's marker"
	case f.frame == markSOF2 && f.restarts:
		return "progressive, with restart markers"
	}
	return ""
}

// goSamples reports whether Go's decoder supports the sampling: see processSOF in
// package image/jpeg.
func (f *jpegForm) goSamples() bool {
	s := f.sampling
	h, v := s[0]>>4, s[0]&15
	switch f.components {
	case 1:
		return h != 3 && v != 3
	case 3:
		ch, cv := s[1]>>4, s[1]&15
		return h != 3 && v < 3 && ch != 3 && cv != 3 && h%ch == 0 && v%cv == 0 && s[2] == s[1]
	case 4:
		return (s[0] == 0x11 || s[0] == 0x22) && s[1] == 0x11 && s[2] == 0x11 && s[3] == s[0]
	}
	return false
}
