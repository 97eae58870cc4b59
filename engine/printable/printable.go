// Package printable makes untrusted text safe to display: titles, names of files and
// folders, messages of events, and errors that quote these. On a terminal, such text could
// move the cursor, change the window's title, reverse the order of letters, or fake other
// lines.
//
// Unsafe characters are replaced with visible escapes: "\x1b" for ASCII control characters,
// "\u202e" for other characters, "\xff" for a byte that is not UTF-8. Output of
// encoding/json contains only characters of the second kind, so that it still decodes to the
// same values.
package printable

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Line makes text safe for one line of a terminal or a log, or one cell of a table or a CSV
// file. It also escapes newlines and tabs.
func Line(s string) string { return escape(s, "", visible) }

// Text makes text of several lines safe. It keeps newlines and tabs.
func Text(s string) string { return escape(s, "\n\t", visible) }

// TOML makes a TOML document safe. It uses TOML's escapes, so that the document still
// decodes to the same values. The document must be UTF-8, and may have unsafe characters
// only in basic strings.
func TOML(s string) string { return escape(s, "\n\t", tomlEscape) }

// Word quotes a word for a POSIX shell if necessary. It is for commands that are executed or
// shown to the user; to be shown, they also need Line or Text.
func Word(s string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./=:,+@%", c)
	}
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !plain(c) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Unsafe reports whether a character is invisible or can affect how other text is displayed.
// Such characters are control characters, line and paragraph separators, characters that
// change the direction of writing, and other invisible format characters. The two joiners,
// which Persian and emoji need, are safe.
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

// escape replaces unsafe characters, except those in keep, with the result of as.
func escape(s, keep string, as func(c rune, raw string) string) string {
	unsafe := func(c rune, size int) bool {
		if c == utf8.RuneError && size == 1 {
			return true
		}
		return Unsafe(c) && !strings.ContainsRune(keep, c)
	}
	var b strings.Builder
	done := 0 // s[:done] has been written to b
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

// visible returns the visible escape of a character with the bytes raw.
func visible(c rune, raw string) string {
	switch {
	case c == '\n':
		return `\n`
	case c == '\t':
		return `\t`
	case c == '\r':
		return `\r`
	case len(raw) == 1 && c != 0x7f: // ASCII, or not UTF-8
		return fmt.Sprintf(`\x%02x`, raw[0])
	case c > 0xffff: // a surrogate pair, for JSON
		c -= 0x10000
		return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
	}
	return fmt.Sprintf(`\u%04x`, c)
}

// tomlEscape returns the escape of a character in a TOML string.
func tomlEscape(c rune, _ string) string {
	if c > 0xffff {
		return fmt.Sprintf(`\U%08x`, c)
	}
	return fmt.Sprintf(`\u%04x`, c)
}

// Writer makes text safe, as [Text] does, and writes it to another writer. Several
// goroutines may use it.
type Writer struct {
	mu   sync.Mutex
	out  io.Writer
	rest []byte // the first bytes of an incomplete character
}

// NewWriter returns a Writer that writes to out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Write implements io.Writer. An incomplete character at the end of p is kept for
// the next call, or for Flush.
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

// Flush writes the bytes of an incomplete character, escaped.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) == 0 {
		return nil // even an empty write could block
	}
	text := string(w.rest)
	w.rest = nil
	_, err := io.WriteString(w.out, Text(text))
	return err
}

// Raw returns the writer that a Writer writes to. It is for output that is known to be safe
// and needs control characters, such as a progress bar. If w is not a Writer, Raw returns w.
func Raw(w io.Writer) io.Writer {
	for {
		p, ok := w.(*Writer)
		if !ok {
			return w
		}
		w = p.out
	}
}

// partial returns the number of bytes of an incomplete character at the end of s.
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
