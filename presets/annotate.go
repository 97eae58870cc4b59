package presets

import (
	"strings"
	"unicode/utf8"
)

// Annotated returns [Config.TOML] with a comment after each key: its help and its unit. It
// loads to the same Config.
func (c *Config) Annotated() []byte {
	const column = 40 // where comments begin, if the value leaves room
	src := string(c.TOML())
	comments := map[int]string{}
	numbers := keyLines(src)
	for _, s := range settings {
		if s.index != nil && s.Key != "paper" {
			comments[numbers[s.Key]] = s.Help
			if s.Unit != "" {
				comments[numbers[s.Key]] += " (" + s.Unit + ")"
			}
		}
		if s.Table != "" {
			comments[numbers[s.Table]] = s.Group
		}
	}
	var b strings.Builder
	number := 0
	for line := range strings.Lines(src) {
		number++
		line = strings.TrimSuffix(line, "\n")
		b.WriteString(line)
		if comment := comments[number]; comment != "" {
			b.WriteString(strings.Repeat(" ", max(1, column-utf8.RuneCountInString(line))) + "# " + comment)
		}
		b.WriteString("\n")
	}
	return []byte(b.String())
}
