// Package printable makes text that was written by somebody else safe to show:
// titles, names of files and folders, messages of events, errors that quote
// them. On a terminal such text could move the cursor, change the title of the
// window, turn the order of the letters round, or pretend to be other lines.
//
//	fmt.Fprintf(out, "run %s: %s\n", id, printable.Line(title)) // one line, whatever the title holds
//	app.Out = printable.NewWriter(os.Stdout)                    // nothing but text comes out
//
// What is not safe is replaced by a visible escape, so that nothing is lost:
// "\x1b" for control characters below the space, "\u202e" for other characters,
// "\xff" for a byte that is not UTF-8. What an encoder of encoding/json writes
// has none of the first and the last, and so reads back the same.
package printable

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Line is text for one line of a terminal or a log, a cell of a table or of a
// CSV file: line ends and tabs are escaped too.
func Line(s string) string { return escape(s, "", visible) }

// Text is text that may have several lines, with tabs: those are left as they are.
func Text(s string) string { return escape(s, "\n\t", visible) }

// TOML escapes in the text of a TOML document what the strings in it hold,
// so that it can be shown and reads back the same. It must hold no such
// character outside of basic strings, and be UTF-8.
func TOML(s string) string { return escape(s, "\n\t", tomlEscape) }

// Unsafe says whether a character acts on what shows it, or cannot be seen:
// control characters, the ends of lines and paragraphs, what changes the direction
// of writing, and format characters without a form of their own. The two
// joiners, which Persian words and emoji are written with, are safe.
func Unsafe(c rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d
	switch {
	case c >= ' ' && c < 0x7f:
		return false
	case unicode.IsControl(c), unicode.In(c, unicode.Zl, unicode.Zp):
		return true
	case c == nonJoiner, c == joiner, unicode.Is(unicode.Prepended_Concatenation_Mark, c):
		return false
	}
	return unicode.Is(unicode.Cf, c)
}

// escape replaces what is unsafe and not among the characters of keep.
func escape(s, keep string, as func(c rune, raw string) string) string {
	unsafe := func(c rune, size int) bool {
		if c == utf8.RuneError && size == 1 {
			return true
		}
		return Unsafe(c) && !strings.ContainsRune(keep, c)
	}
	var b strings.Builder
	done := 0 // as far as it is in b
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		if unsafe(c, size) {
			b.WriteString(s[done:i])
			b.WriteString(as(c, s[i:i+size]))
			done = i + size
		}
		i += size
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// visible is the escape of a character for people; raw are its bytes.
func visible(c rune, raw string) string {
	switch {
	case c == '\n':
		return `\n`
	case c == '\t':
		return `\t`
	case c == '\r':
		return `\r`
	case len(raw) == 1 && c != 0x7f: // of ASCII, or not UTF-8
		return fmt.Sprintf(`\x%02x`, raw[0])
	case c > 0xffff: // a surrogate pair, for JSON
		c -= 0x10000
		return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
	}
	return fmt.Sprintf(`\u%04x`, c)
}

// tomlEscape is the escape of a character in a string of TOML.
func tomlEscape(c rune, _ string) string {
	if c > 0xffff {
		return fmt.Sprintf(`\U%08x`, c)
	}
	return fmt.Sprintf(`\u%04x`, c)
}

// Writer passes text on, made safe as by [Text]. It may be used by several
// goroutines.
type Writer struct {
	mu   sync.Mutex
	out  io.Writer
	rest []byte // the beginning of a character whose end is not written yet
}

// NewWriter returns a Writer that writes to out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Write implements io.Writer. The beginning of a character at the end of p waits
// for the next call, or for Flush.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := string(append(w.rest, p...))
	end := len(text) - partial(text)
	w.rest = []byte(text[end:])
	if _, err := io.WriteString(w.out, Text(text[:end])); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what waits for the end of its character.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) == 0 {
		return nil // even an empty write waits behind one that a reader holds up
	}
	text := string(w.rest)
	w.rest = nil
	_, err := io.WriteString(w.out, Text(text))
	return err
}

// Raw is the writer behind those that make text safe, for those who know what
// they write: the bar at the end of a terminal moves the cursor.
func Raw(w io.Writer) io.Writer {
	for {
		behind, ok := w.(*Writer)
		if !ok {
			return w
		}
		w = behind.out
	}
}

// partial is the number of bytes at the end of s that begin a character and do
// not end it.
func partial(s string) int {
	for n := 1; n < utf8.UTFMax && n <= len(s); n++ {
		if last := s[len(s)-n:]; utf8.RuneStart(last[0]) {
			if utf8.FullRuneInString(last) {
				return 0
			}
			return n
		}
	}
	return 0
}
