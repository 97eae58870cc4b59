package pages

import (
	"strings"
	"testing"
	"unicode"

	"hatchery/presets"
)

// FuzzTyped checks that text typed into a field of the editor changes only that field, or
// is rejected with the name of the field.
func FuzzTyped(f *testing.F) {
	for i, text := range []string{"2", "1e-3", ".5", "two words", "\"quoted\"", "a\nk = 1", "\\", "'", "e2e", "[1, 2]", "1]\nseed=[2", "NaN", "0x10", "\t"} {
		f.Add(i*7, text)
		f.Add(i, text)
	}
	before, err := presets.Load("quickstart", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which int, text string) {
		field := fields[uint(which)%uint(len(fields))]
		if strings.ContainsFunc(text, unicode.IsControl) {
			t.Skip("control characters cannot be typed")
		}
		c, err := presets.Load("quickstart", []string{field.Key + "=" + field.Literal(text)})
		if err != nil {
			if !strings.Contains(err.Error(), field.Key) {
				t.Errorf("%s, %q: %v", field.Key, text, err)
			}
			return
		}
		for _, change := range presets.Diff(before, c) {
			if change.Key != field.Key && field.Key != "schedule" {
				t.Errorf("%q typed as %s has changed %+v", text, field.Key, change)
			}
		}
		if shown := field.Text(c); shown != strings.TrimSpace(shown) || strings.HasPrefix(shown, `"`) {
			return // typed again, this text would mean something else
		}
		again, err := presets.Load("quickstart", []string{field.Key + "=" + field.Literal(field.Text(c))})
		if err != nil || len(presets.Diff(c, again)) > 0 {
			t.Errorf("%s shows %q, which is not what it is: %v, %v", field.Key, field.Text(c), err, presets.Diff(c, again))
		}
	})
}
