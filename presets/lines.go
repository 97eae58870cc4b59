package presets

import (
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// keyLines returns the line of every key of a TOML document by the key's path, as joinKey
// and elementKey write it: "model.width", "paper[1].value". The toml package does not
// report the lines of valid keys, so keyLines scans the document again; the package must
// have accepted it.
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

// joinKey returns the path of a key in a table.
func joinKey(table, key string) string {
	key = toml.Key{key}.String() // quoted where TOML needs it
	if table == "" {
		return key
	}
	return table + "." + key
}

// elementKey returns the path of element i of an array.
func elementKey(array string, i int) string {
	return fmt.Sprintf("%s[%d]", array, i)
}

// lineScanner scans a document that is known to be well-formed, so it looks only for the
// beginnings of keys and the ends of values.
type lineScanner struct {
	src      string
	pos      int
	line     int
	table    string // path of the current header's table
	lines    map[string]int
	elements map[string]int // elements so far of each array of tables, by its path
}

func (s *lineScanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

// skip advances by n bytes, or to the end.
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

// skipTo advances to the first byte that is in set.
func (s *lineScanner) skipTo(set string) {
	if n := strings.IndexAny(s.src[s.pos:], set); n >= 0 {
		s.skip(n)
	} else {
		s.skip(len(s.src))
	}
}

// record records the first line of a path.
func (s *lineScanner) record(path string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
}

// key reads a key, dotted or not, up to the byte end.
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

// parseKey parses a dotted key, or returns nil if text is not a key. The toml package
// handles quotes and escapes.
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
		// A header below an array of tables refers to its last element.
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

// more reports whether another element follows in an array or an inline table. If none
// does, it skips the end.
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

// quoted skips a string of any of TOML's four kinds.
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
			// In """a""""", two of the quotes at the end belong to the text.
			for len(quote) == 3 && s.peek() == quote[0] {
				s.skip(1)
			}
			return
		default:
			s.skip(1)
		}
	}
}
