package presets

import (
	"fmt"
	"strings"
)

// maxNesting limits the nesting of arrays and tables in a file, and the dots between two
// separators. It is several times what any preset or study needs. The decoder's time and
// memory grow with the square of the depth, so that a file of a few kilobytes could
// exhaust a machine.
const maxNesting = 32

// checkDepth returns an error if a document, which need not be well-formed, is nested
// too deeply to be decoded. name is for the message.
func checkDepth(name, src string) error {
	depth, dots := 0, 0
	for i := 0; i < len(src); i++ {
		switch src[i] {
		case '\n', '=', ',':
			dots = 0
		case '.':
			dots++
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		case '#':
			if n := strings.IndexByte(src[i:], '\n'); n >= 0 {
				i += n
				dots = 0
			} else {
				i = len(src)
			}
		case '"', '\'':
			i += quotedLength(src[i:]) - 1
		}
		if depth > maxNesting || dots > maxNesting {
			line := 1 + strings.Count(src[:i], "\n")
			return fmt.Errorf("%s:%d: arrays, tables or dotted keys are nested more than %d deep", name, line, maxNesting)
		}
	}
	return nil
}

// quotedLength returns the length of the string at the beginning of src, with its
// quotes. A string of one line without a closing quote ends before the line break.
func quotedLength(src string) int {
	quote, lines := src[:1], false
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(src, triple) {
		quote, lines = triple, true
	}
	for i := len(quote); i < len(src); i++ {
		switch {
		case src[i] == '\\' && quote[0] == '"':
			i++
		case src[i] == '\n' && !lines:
			return i
		case strings.HasPrefix(src[i:], quote):
			return i + len(quote)
		}
	}
	return len(src)
}
