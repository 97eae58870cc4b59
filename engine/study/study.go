// Package study runs a grid of experiments, such as those of a figure of the paper, and reads
// their results.
//
// A study is a folder, studies/<id> next to the runs. It holds the definition and, for each
// cell, the configuration and the id of its run. The run of a cell is an ordinary run. Stages
// with the same result in two cells (pipeline.StageKeys) are executed once: the second run
// takes them over. A study that was interrupted or killed can be resumed; finished cells and
// stages are not executed again.
package study

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hatchery/engine/atomicfile"
	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

const (
	studyFile = "study.json"
	lockFile  = "lock"
	logFile   = "log.txt"
	cellsDir  = "cells"
)

// ErrLocked is wrapped by the errors of Execute and Detach if another process executes the
// study.
var ErrLocked = errors.New("the study is being executed by another process")

// Study is a study on disk.
type Study struct {
	Root       string         `json:"-"` // the folder of runs
	ID         string         `json:"id"`
	Created    time.Time      `json:"created"`
	Definition *presets.Study `json:"definition"`
	Options    Options        `json:"options"`
	Cells      []Cell         `json:"cells"`
}

// Options are the options of a study, which make it differ from its definition.
type Options struct {
	Scale float64  `json:"scale"` // factor for the epochs of every stage; 0 means 1
	Small bool     `json:"small"` // use the definition's grid for a small machine
	Set   []string `json:"set"`   // settings for every cell, "key=value"
}

// Differences describes in sentences how a study differs from its definition.
func (o Options) Differences() []string {
	var all []string
	if o.Small {
		all = append(all, "the variant for a small machine: another network on other data than the paper's")
	}
	if o.Scale > 0 && o.Scale < 1 {
		all = append(all, fmt.Sprintf("every stage shortened to %g of its epochs, at least one", o.Scale))
	}
	if len(o.Set) > 0 {
		all = append(all, "changed: "+strings.Join(o.Set, ", "))
	}
	return all
}

// Cell is one experiment of a study.
type Cell struct {
	Name   string   `json:"name"` // unique in the study
	Series string   `json:"series"`
	Label  string   `json:"label,omitempty"`
	At     *float64 `json:"at,omitempty"`
	Method string   `json:"method"`
	Run    string   `json:"run"` // id of its run, which need not exist yet
}

// Load returns the cells of a definition with their configurations, which it validates. The
// error names the first invalid cell.
func Load(d *presets.Study, o Options) ([]presets.Cell, []*presets.Config, error) {
	grid := d.Grid
	if o.Small {
		if d.Small == nil {
			return nil, nil, fmt.Errorf("study %s has no variant for a small machine; scale it down with --scale", d.Name)
		}
		grid = *d.Small
	}
	cells := grid.Cells(o.Set)
	configs := make([]*presets.Config, len(cells))
	for i, cell := range cells {
		c, err := presets.Load(cell.Preset, cell.Set)
		if err != nil {
			return nil, nil, fmt.Errorf("study %s, cell %s: %w", d.Name, cell.ID(), err)
		}
		if o.Scale > 0 {
			c.Scale(o.Scale)
		}
		c.Name = d.Name + "-" + cell.ID()
		c.Title = fmt.Sprintf("%s: %s %s", d.Title, cell.Series, cell.Label)
		if err := pipeline.Validate(c); err != nil {
			return nil, nil, fmt.Errorf("study %s, cell %s: %w", d.Name, cell.ID(), err)
		}
		configs[i] = c
	}
	return cells, configs, nil
}

// Create checks every cell (pipeline.Check) and creates the folder of a new study under root.
// The folder appears complete or not at all.
func Create(ctx context.Context, root string, d *presets.Study, o Options) (*Study, error) {
	if !(o.Scale >= 0 && o.Scale <= 1) { // NaN too
		return nil, &pipeline.Invalid{Err: fmt.Errorf("the scale of a study is %v; it must be above 0 and at most 1", o.Scale)}
	}
	cells, configs, err := Load(d, o)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s := &Study{Root: root, ID: runs.NewID(d.Name, now), Created: now.UTC().Truncate(time.Second), Definition: d, Options: o}
	for i, cell := range cells {
		if err := pipeline.Check(ctx, configs[i], root); err != nil {
			return nil, fmt.Errorf("study %s, cell %s: %w", d.Name, cell.ID(), err)
		}
		s.Cells = append(s.Cells, Cell{Name: cell.ID(), Series: cell.Series, Label: cell.Label, At: cell.At, Method: cell.Method,
			Run: runs.NewID(configs[i].Name, now)})
	}
	if err := s.write(configs); err != nil {
		return nil, fmt.Errorf("cannot create a study in %s: %w", root, err)
	}
	return s, nil
}

// Dir returns the study's folder.
func (s *Study) Dir() string { return filepath.Join(s.Root, runs.StudiesDir, s.ID) }

func (s *Study) write(configs []*presets.Config) (err error) {
	parent := filepath.Dir(s.Dir())
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	staging, err := os.MkdirTemp(parent, ".")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(staging)
		}
	}()
	if err := os.Mkdir(filepath.Join(staging, cellsDir), 0o755); err != nil {
		return err
	}
	for i, c := range configs {
		if err := atomicfile.Write(filepath.Join(staging, cellsDir, s.Cells[i].Name+".toml"), c.TOML(), 0o644); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(staging, studyFile), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(staging, s.Dir())
}

// Open reads the study with the given id under root.
func Open(root, id string) (*Study, error) {
	path := filepath.Join(root, runs.StudiesDir, id, studyFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &Study{Root: root}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.Definition == nil || s.ID != id {
		return nil, fmt.Errorf("%s: not the file of study %s", path, id)
	}
	return s, nil
}

// Broken is an entry of the folder of studies that cannot be read as a study.
type Broken struct {
	ID  string
	Err error
}

// List returns the studies under root, latest first, and the folders that cannot be read as
// studies. It ignores files.
func List(root string) (all []*Study, broken []Broken, err error) {
	folders, err := runs.Folders(filepath.Join(root, runs.StudiesDir))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the folder of studies: %w", err)
	}
	for _, id := range folders {
		s, err := Open(root, id)
		if err != nil {
			broken = append(broken, Broken{id, err})
			continue
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Study) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID)) })
	return all, broken, nil
}

// Config loads the configuration of a cell.
func (s *Study) Config(c Cell) (*presets.Config, error) {
	return presets.Load(s.configPath(c), nil)
}

func (s *Study) configPath(c Cell) string { return filepath.Join(s.Dir(), cellsDir, c.Name+".toml") }

// RunDir returns the folder of a cell's run, which exists once the cell has started.
func (s *Study) RunDir(c Cell) string { return filepath.Join(s.Root, c.Run) }
