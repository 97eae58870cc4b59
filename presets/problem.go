package presets

import (
	"fmt"
	"strings"
)

// Problem describes one error in a configuration.
type Problem struct {
	Where  string // "my.toml:12", "--set modules.k=5"; empty if unknown
	Key    string // "modules.k"
	Value  string // as TOML; empty if the value is not the problem
	Reason string // "must be ..."
	Hint   string // what to do; may be empty
}

// String returns the problem as one line: position, key, value, reason and hint.
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

// Problems holds every error in a configuration, so that a user can correct them all at
// once.
type Problems []Problem

// Error returns one line per problem.
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

// err returns nil if there are no problems: an error that holds nil Problems is not nil.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Nearest returns the word that a mistyped one most likely stands for, or "" if none is
// near. Of equally near words it returns the first.
func Nearest(written string, words []string) string {
	best, bestDistance := "", tolerance(written)+1
	for _, w := range words {
		if d := len(w) - len(written); max(d, -d) >= bestDistance {
			continue // at least d letters differ; a key may be as long as its file, and distance slow
		}
		if d := distance(strings.ToLower(written), strings.ToLower(w)); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	return best
}

// tolerance returns the number of typing mistakes allowed in a word of this length: none
// in a word so short that every other word is near it.
func tolerance(word string) int {
	if len(word) < 3 {
		return 0
	}
	return min(len(word)/3, 4)
}

// distance returns the number of letters to insert, delete, replace or swap with their
// neighbour that turns a into b (optimal string alignment).
func distance(a, b string) int {
	older, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
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
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
		older, last, row = last, row, older
	}
	return last[len(b)]
}

// Suggest returns a hint for a word that is not among words: the nearest of them, or all.
func Suggest(written string, words []string) string {
	if near := Nearest(written, words); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return "choose one of " + strings.Join(quoted, ", ")
}
