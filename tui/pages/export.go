package pages

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	tea "charm.land/bubbletea/v2"

	"hatchery/engine/atomicfile"
)

// csv returns the comparison as CSV, with a column for each run and without the differences
// of numbers.
func (p *Compare) csv() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	head := []string{"name"}
	for _, r := range p.runs {
		head = append(head, filepath.Base(r.dir))
	}
	w.Write(head)
	for _, l := range append(p.settings(), p.results()...) {
		row := []string{l.name}
		for i, v := range l.values {
			if l.metric {
				if v = ""; !math.IsNaN(l.numbers[i]) {
					v = fmt.Sprint(l.numbers[i])
				}
			}
			row = append(row, v)
		}
		w.Write(row)
	}
	w.Flush() // writing to a buffer does not fail
	return b.Bytes()
}

// json returns the comparison as JSON, with an object for each run.
func (p *Compare) json() ([]byte, error) {
	type run struct {
		Run      string             `json:"run"`
		Settings map[string]string  `json:"settings"` // only those that differ
		Results  map[string]float64 `json:"results"`
	}
	var all []run
	settings, results := p.settings(), p.results()
	for i, r := range p.runs {
		out := run{filepath.Base(r.dir), map[string]string{}, map[string]float64{}}
		for _, l := range settings {
			out.Settings[l.name] = l.values[i]
		}
		for _, l := range results {
			if v := l.numbers[i]; !math.IsNaN(v) && !math.IsInf(v, 0) {
				out.Results[l.name] = v
			}
		}
		all = append(all, out)
	}
	return json.MarshalIndent(all, "", "  ")
}

// export writes the comparison to a file in the working directory. It never overwrites a
// file but adds a number to the name.
func (p *Compare) export(name string) tea.Cmd {
	data := p.csv()
	if strings.HasSuffix(name, ".json") {
		var err error
		if data, err = p.json(); err != nil {
			return fail(err)
		}
	}
	return func() tea.Msg {
		path := name
		for n := 2; ; n++ {
			if _, err := os.Lstat(path); err != nil {
				break
			}
			ext := filepath.Ext(name)
			path = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), n, ext)
		}
		if err := atomicfile.Write(path, data, 0o644); err != nil {
			return Flash{Text: err.Error(), Bad: true}
		}
		return Flash{Text: "wrote " + path}
	}
}
