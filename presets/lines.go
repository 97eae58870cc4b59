package presets

import (
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// keyLines finds the line of every key of a TOML document, under the path that
// joinKey and elementKey make: "model.width", "paper[1].value". The toml package
// keeps no lines for keys that are well-formed, so this walks the document a
// second time; src must be one that the package accepted.
func keyLines(src string) map[string]int {
	s := lineScanner{src: strings.TrimPrefix(src, "\ufeff"), line: 1,
		lines: map[string]int{}, elements: map[string]int{}}
	for s.blank(); s.pos < len(s.src); s.blank() {
		if s.peek() == '[' {
			s.header()
		} else {
			s.pair(s.table)
		}
	}
	return s.lines
}

// joinKey is the path of a key inside a table.
func joinKey(table, key string) string {
	key = toml.Key{key}.String() // quoted where TOML needs it
	if table == "" {
		return key
	}
	return table + "." + key
}

// elementKey is the path of an array's element, counted from 0.
func elementKey(array string, i int) string {
	return fmt.Sprintf("%s[%d]", array, i)
}

// lineScanner walks a document that is known to be well-formed, so it looks only for
// what tells where a key begins and a value ends.
type lineScanner struct {
	src      string
	pos      int
	line     int
	table    string // path of the current header's table
	lines    map[string]int
	elements map[string]int // by path of an array of tables: its elements so far
}

func (s *lineScanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

// skip moves n bytes on, or to the end.
func (s *lineScanner) skip(n int) {
	end := min(s.pos+n, len(s.src))
	s.line += strings.Count(s.src[s.pos:end], "\n")
	s.pos = end
}

// blank skips white space, line ends and comments.
func (s *lineScanner) blank() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.skip(1)
		case '#':
			s.skipTo("\n")
		default:
			return
		}
	}
}

// skipTo moves to the first of the bytes in set.
func (s *lineScanner) skipTo(set string) {
	if n := strings.IndexAny(s.src[s.pos:], set); n >= 0 {
		s.skip(n)
	} else {
		s.skip(len(s.src))
	}
}

// record keeps the first line on which a path is written.
func (s *lineScanner) record(path string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
}

// key reads a key, dotted or not, up to but without the byte end.
func (s *lineScanner) key(end byte) toml.Key {
	start := s.pos
	for s.pos < len(s.src) && s.peek() != end {
		if c := s.peek(); c == '"' || c == '\'' {
			s.quoted()
		} else {
			s.skip(1)
		}
	}
	return parseKey(s.src[start:s.pos])
}

// parseKey leaves quotes and escapes to the toml package. It returns nil for
// what is not a key.
func parseKey(text string) toml.Key {
	var discard map[string]any
	meta, err := toml.Decode(text+"=0", &discard)
	if err != nil || len(meta.Keys()) == 0 {
		return nil
	}
	keys := meta.Keys()
	return keys[len(keys)-1]
}

// header reads [table] or [[table]].
func (s *lineScanner) header() {
	line := s.line
	s.skip(1)
	array := s.peek() == '['
	if array {
		s.skip(1)
	}
	keys := s.key(']')
	s.skip(1)
	if array {
		s.skip(1)
	}
	s.table = ""
	for i, k := range keys {
		s.table = joinKey(s.table, k)
		s.record(s.table, line)
		if array && i == len(keys)-1 {
			s.elements[s.table]++
		}
		// A header below an array of tables speaks of its last element.
		if n := s.elements[s.table]; n > 0 {
			s.table = elementKey(s.table, n-1)
			s.record(s.table, line)
		}
	}
}

// pair reads key = value of a table.
func (s *lineScanner) pair(table string) {
	line := s.line
	for _, k := range s.key('=') {
		table = joinKey(table, k)
		s.record(table, line)
	}
	s.skip(1)
	s.blank()
	s.value(table)
}

// value skips a value and records the keys inside it.
func (s *lineScanner) value(path string) {
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.skip(1)
		for i := 0; s.more(']'); i++ {
			s.record(elementKey(path, i), s.line)
			s.value(elementKey(path, i))
		}
	case '{':
		s.skip(1)
		for s.more('}') {
			s.pair(path)
		}
	default: // number, boolean or date
		s.skipTo(",]}#\n")
	}
}

// more reports whether another element follows in an array or inline table,
// and otherwise skips its end.
func (s *lineScanner) more(end byte) bool {
	s.blank()
	if s.peek() == ',' {
		s.skip(1)
		s.blank()
	}
	if s.pos == len(s.src) || s.peek() == end {
		s.skip(1)
		return false
	}
	return true
}

// quoted skips a string of any of the four kinds.
func (s *lineScanner) quoted() {
	quote := s.src[s.pos : s.pos+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.src[s.pos:], triple) {
		quote = triple
	}
	s.skip(len(quote))
	for s.pos < len(s.src) {
		switch {
		case s.peek() == '\\' && quote[0] == '"':
			s.skip(2)
		case strings.HasPrefix(s.src[s.pos:], quote):
			s.skip(len(quote))
			// """a""""" ends in two quotes that are the text's.
			for len(quote) == 3 && s.peek() == quote[0] {
				s.skip(1)
			}
			return
		default:
			s.skip(1)
		}
	}
}
