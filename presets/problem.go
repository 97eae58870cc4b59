package presets

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Where  string // "my.toml:12", "--set modules.k=5"; empty: not known
	Key    string // "modules.k"
	Value  string // as TOML; empty: the value is not the matter
	Reason string // "must be ..."
	Hint   string // what to do; may be empty
}

// String is the problem on one line: where, what, why, and what to do.
func (p Problem) String() string {
	var b strings.Builder
	if p.Where != "" {
		b.WriteString(p.Where + ": ")
	}
	b.WriteString(p.Key)
	if p.Value != "" {
		b.WriteString(" = " + p.Value)
	}
	if p.Key != "" {
		b.WriteString(": ")
	}
	b.WriteString(p.Reason)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Problems is everything wrong with a configuration, so that a user mends it
// in one round. As an error it holds one line a problem.
type Problems []Problem

// Error lists the problems.
func (ps Problems) Error() string {
	if len(ps) == 1 {
		return ps[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems in the configuration:", len(ps))
	for _, p := range ps {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// err is nil for no problems: a nil Problems in an error is not a nil error.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Nearest returns the word that a typing mistake most likely meant, or "" if none is
// near. Of equally near words the first wins.
func Nearest(written string, words []string) string { return nearest(written, words) }

// nearest returns the word that a typing mistake most likely meant, or "" if
// none is near. Of equally near words the first wins.
func nearest(written string, words []string) string {
	best, bestDistance := "", tolerance(written)+1
	for _, w := range words {
		if d := len(w) - len(written); max(d, -d) >= bestDistance {
			continue // at least d letters differ; a key may be as long as its file, so this saves time
		}
		if d := distance(strings.ToLower(written), strings.ToLower(w)); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	return best
}

// tolerance is the number of typing mistakes that a word of this length may
// hold: none in so short a word that every other is near it.
func tolerance(word string) int {
	if len(word) < 3 {
		return 0
	}
	return min(len(word)/3, 4)
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// Suggest returns the hint for a word that is none of the possible ones: the nearest, or
// all of them.
func Suggest(written string, words []string) string {
	if near := nearest(written, words); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return "choose one of " + strings.Join(quoted, ", ")
}
