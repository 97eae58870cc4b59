package printable

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

func TestLine(t *testing.T) {
	for _, c := range []struct{ what, text, want string }{
		{"plain", "DeiT-T, K = 4: 71.4 %", "DeiT-T, K = 4: 71.4 %"},
		{"other scripts", "Größe 大小 حجم 🧠", "Größe 大小 حجم 🧠"},
		{"joined emoji and Persian", "👩\u200d🔬 می\u200cخواهم", "👩\u200d🔬 می\u200cخواهم"},
		{"an Arabic sign of numbers", "\u0600\u0661", "\u0600\u0661"},
		{"a sign of damage that is there", "\ufffd", "\ufffd"},
		{"escape sequences", "\x1b[2J\x1b]0;title\a", `\x1b[2J\x1b]0;title\x07`},
		{"line ends and tabs", "a\nb\r\nc\td", `a\nb\r\nc\td`},
		{"NUL and DEL", "\x00\x7f", `\x00\u007f`},
		{"C1", "\u0085\u009b31m", `\u0085\u009b31m`},
		{"not UTF-8", "a\xff\x9b31m\xe2\x82", `a\xff\x9b31m\xe2\x82`},
		{"direction", "\u202egpj.exe\u2066\u2069\u200e\u200f\u061c", `\u202egpj.exe\u2066\u2069\u200e\u200f\u061c`},
		{"separators of lines", "a\u2028b\u2029c", `a\u2028b\u2029c`},
		{"of no width", "a\u200bb\ufeffc\u00add\u2060", `a\u200bb\ufeffc\u00add\u2060`},
		{"tags", "\U000e0041", `\udb40\udc41`},
		{"empty", "", ""},
	} {
		if got := Line(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	if got := Text("two\n\tlines\x1b"); got != "two\n\tlines\\x1b" {
		t.Errorf("text: %q", got)
	}
}

// hostile returns text with every unsafe character, separated by safe ones.
func hostile() string {
	var b strings.Builder
	for c := range rune(0xe0100) {
		if Unsafe(c) {
			b.WriteRune(c)
			b.WriteString("é")
		}
	}
	return b.String()
}

// clean reports whether text has no unsafe characters other than newlines and tabs.
func clean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c != '\n' && c != '\t' && Unsafe(c) })
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := json.NewEncoder(NewWriter(&b)).Encode(hostile()); err != nil {
		t.Fatal(err)
	}
	if !clean(b.String()) {
		t.Error("not clean")
	}
	var got string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got != hostile() {
		t.Errorf("does not come back the same: %v", err)
	}
}

func TestTOML(t *testing.T) {
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(map[string]string{"title": hostile()}); err != nil {
		t.Fatal(err)
	}
	text := TOML(b.String())
	if !clean(text) {
		t.Error("not clean")
	}
	var got map[string]string
	if _, err := toml.Decode(text, &got); err != nil || got["title"] != hostile() {
		t.Errorf("does not come back the same: %v", err)
	}
}

// The output does not depend on how the text is split into writes.
func TestWriter(t *testing.T) {
	text := "é🧠\x1b[31m\u202e\n\tend\xf0\x9f\x00\xe2\x82"
	for what, r := range map[string]io.Reader{
		"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)), "in halves": iotest.HalfReader(strings.NewReader(text)),
	} {
		var b bytes.Buffer
		w := NewWriter(&b)
		if n, err := io.Copy(w, struct{ io.Reader }{r}); err != nil || n != int64(len(text)) {
			t.Errorf("%s: %d bytes, %v", what, n, err)
		}
		if err := w.Flush(); err != nil {
			t.Error(err)
		}
		if b.String() != Text(text) {
			t.Errorf("%s: %q, want %q", what, b.String(), Text(text))
		}
	}
}

func TestWriterPassesErrorsOn(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	if _, err := NewWriter(w).Write([]byte("a")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

// TestWord checks that a quoted folder name is one word for a shell.
func TestWord(t *testing.T) {
	for word, want := range map[string]string{
		"/runs/a-1.toml": "/runs/a-1.toml", "/our runs/a": "'/our runs/a'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "": "''", "*": "'*'", "é": "'é'",
	} {
		if got := Word(word); got != want {
			t.Errorf("%q is %s, want %s", word, got, want)
		}
	}
}

func FuzzWord(f *testing.F) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		f.Skip("needs a shell")
	}
	f.Add("it's")
	f.Add("a b\n$HOME `x` \\ \" *")
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ContainsRune(word, 0) {
			t.Skip()
		}
		out, err := exec.Command(sh, "-c", "printf %s "+Word(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q is read as %q, %v", word, out, err)
		}
	})
}
