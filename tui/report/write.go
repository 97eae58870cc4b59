package report

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"slices"

	"hatchery/engine/atomicfile"
)

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Parse(page))

// HTML writes the document as an HTML page.
func (d *Document) HTML(w io.Writer) error {
	if err := pageTemplate.Execute(w, d); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// Save writes the page to a file, atomically.
func (d *Document) Save(path string) error {
	var b bytes.Buffer
	if err := d.HTML(&b); err != nil {
		return err
	}
	if err := atomicfile.Write(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// CSV writes each table and each chart to a file of its own in the folder dir, which it
// creates if necessary, and returns the paths.
func (d *Document) CSV(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	tables := d.Tables
	for _, c := range d.Charts {
		tables = append(slices.Clip(tables), c.Table())
	}
	var paths []string
	for _, t := range tables {
		path := filepath.Join(dir, t.Name+".csv")
		if err := atomicfile.Write(path, t.csv(), 0o644); err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func (t Table) csv() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	head := make([]string, len(t.Head))
	for i, h := range t.Head {
		head[i] = text(h).Exact()
	}
	w.Write(head)
	for _, r := range t.Rows {
		line := make([]string, len(r))
		for i, c := range r {
			line[i] = c.Exact()
		}
		w.Write(line)
	}
	w.Flush() // writing to a buffer does not fail
	return b.Bytes()
}
