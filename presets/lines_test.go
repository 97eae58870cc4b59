package presets

import (
	"regexp"
	"slices"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestKeyLines(t *testing.T) {
	const src = `# top = 1
a = 1 # b = 2
"quoted # key" = "# not a comment"
'lit.eral'.x = 'c:\'

[t] # [u]
multi = """
k = 1 \"""
[v]
""" # end
raw = '''
[w]
'''''
last = 'x'
array = [ # ]
  "]", # one
  [1,
   2],
  { p = 1, q.r = "}" },
]
inline = { x = 1, y = { z = [ { deep = true } ] } }
when = 1979-05-27 07:32:00 # date
[ s . "u v" ]
k=1
[[rows]]
a = 1
[[rows.inner]]
b = 1
[rows.sub]
c = 1
[[rows]]
a = 2
  [[rows.inner]]
  b = 2
  [[rows.inner]]
  b = 3
`
	want := map[string]int{
		"a": 2, `"quoted # key"`: 3, `"lit.eral"`: 4, `"lit.eral".x`: 4,
		"t": 6, "t.multi": 7, "t.raw": 11, "t.last": 14,
		"t.array": 15, "t.array[0]": 16, "t.array[1]": 17, "t.array[1][0]": 17, "t.array[1][1]": 18,
		"t.array[2]": 19, "t.array[2].p": 19, "t.array[2].q": 19, "t.array[2].q.r": 19,
		"t.inline": 21, "t.inline.x": 21, "t.inline.y": 21, "t.inline.y.z": 21, "t.inline.y.z[0]": 21, "t.inline.y.z[0].deep": 21,
		"t.when": 22, "s": 23, `s."u v"`: 23, `s."u v".k`: 24,
		"rows": 25, "rows[0]": 25, "rows[0].a": 26, "rows[0].inner": 27, "rows[0].inner[0]": 27, "rows[0].inner[0].b": 28,
		"rows[0].sub": 29, "rows[0].sub.c": 30,
		"rows[1]": 31, "rows[1].a": 32, "rows[1].inner": 33, "rows[1].inner[0]": 33, "rows[1].inner[0].b": 34,
		"rows[1].inner[1]": 35, "rows[1].inner[1].b": 36,
	}
	for _, c := range []struct{ name, src string }{
		{"as it is", src},
		{"with a byte order mark", "\ufeff" + src},
		{"with CRLF", regexp.MustCompile("\n").ReplaceAllString(src, "\r\n")},
	} {
		var raw map[string]any
		if _, err := toml.Decode(c.src, &raw); err != nil {
			t.Fatal(err) // the test's own document
		}
		got := keyLines(c.src)
		for key, line := range want {
			if got[key] != line {
				t.Errorf("%s: %s on line %d, want %d", c.name, key, got[key], line)
			}
		}
		for key, line := range got {
			if _, ok := want[key]; !ok {
				t.Errorf("%s: %s on line %d is no key", c.name, key, line)
			}
		}
	}
}

// The toml package and the scanner must find the same keys.
func FuzzKeyLines(f *testing.F) {
	f.Add("a = 1\n[b.c]\nd = \"\"\"x\"\"\"\"\n[[e]]\nf = [{g = 1}, {g = 2}]\n[e.h]\n")
	f.Add("'a\"b'.\"c\\u0041\" = '''\n'''\n[ x . y ]\nz = 1979-05-27 07:32:00 # {\n")
	f.Add("a = { b = [ 1, [ '}' ] ], c.d = \"]\" }\r\n#\r\n e=+inf")
	f.Add("a = {\n b = 1, # c\n}\n")
	element := regexp.MustCompile(`\[\d+\]`)
	f.Fuzz(func(t *testing.T, src string) {
		var raw map[string]any
		if _, err := toml.Decode(src, &raw); err != nil {
			return
		}
		got := keyLines(src)
		var want []string
		walk("", raw, func(path string) { want = append(want, path) })
		for _, path := range want {
			if got[path] == 0 {
				t.Errorf("no line for %s in %q", path, src)
			}
		}
		for path := range got {
			// Elements without keys have lines too.
			if !slices.Contains(want, path) && !element.MatchString(path) {
				t.Errorf("%s is no key of %q", path, src)
			}
		}
	})
}

// walk visits the paths of all keys and elements of a decoded document.
func walk(path string, v any, visit func(string)) {
	if list, ok := array(v); ok {
		for i, e := range list {
			visit(elementKey(path, i))
			walk(elementKey(path, i), e, visit)
		}
	} else if table, ok := v.(map[string]any); ok {
		for key, e := range table {
			visit(joinKey(path, key))
			walk(joinKey(path, key), e, visit)
		}
	}
}
