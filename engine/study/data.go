package study

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// ErrOtherData is wrapped by the error of Execute if the classes of the data set have changed
// since cells of the study were trained. Execute then executes nothing.
var ErrOtherData = errors.New("the classes of the data set have changed since the study began")

// trainedOn returns the data that the stages of a cell were trained on. It leaves out stages
// without a record of their data, and stages that cannot be read, which resuming the run will
// report. It includes unfinished stages only if progress is true.
func (s *Study) trainedOn(cell Cell, c *presets.Config, progress bool) []runs.Data {
	var all []runs.Data
	for _, stage := range method.Stages(c) {
		var id *runs.Identity
		if o, err := runs.ReadOutcome(s.RunDir(cell), stage.Name); err != nil {
			continue
		} else if o != nil {
			id = o.Identity
		} else if progress {
			if header, err := runs.LatestHeader(s.RunDir(cell), stage.Name); err == nil && header != nil {
				id = header.Identity
			}
		}
		if id == nil {
			continue
		}
		d := id.Data
		if d.Part != "" {
			d.Train = runs.Images{} // each module has its own part of the images
		}
		all = append(all, d)
	}
	return all
}

// difference describes how two records of data differ. It returns "" if they do not, or if
// that is unknown. classes reports whether the classes or their order differ.
func difference(was, other runs.Data) (what string, classes bool) {
	for i := range max(len(was.Classes), len(other.Classes)) {
		switch {
		case len(was.Classes) != len(other.Classes):
			return fmt.Sprintf("there were %d classes, not %d", len(was.Classes), len(other.Classes)), true
		case was.Classes[i] != other.Classes[i]:
			return fmt.Sprintf("class %d of %d was %q, not %q", i+1, len(was.Classes), was.Classes[i], other.Classes[i]), true
		}
	}
	for _, split := range []struct {
		name       string
		was, other runs.Images
	}{{"training", was.Train, other.Train}, {"evaluation", was.Eval, other.Eval}} {
		switch a, b := split.was, split.other; {
		case pipeline.SameImages(a, b):
		case a.Count != b.Count:
			return fmt.Sprintf("there were %d %s images, not %d", a.Count, split.name, b.Count), false
		default:
			return fmt.Sprintf("the %d %s images had other names, sizes, order or pixels", a.Count, split.name), false
		}
	}
	return "", false
}

// cellsByReason groups cells by the reason of a refusal or a warning.
type cellsByReason struct {
	order []string
	cells map[string][]Cell
}

func (b *cellsByReason) add(reason string, c Cell) {
	if b.cells == nil {
		b.cells = map[string][]Cell{}
	}
	if b.cells[reason] == nil {
		b.order = append(b.order, reason)
	}
	b.cells[reason] = append(b.cells[reason], c)
}

// cellList returns the names of cells, such as "cell a" or "cells a, b and c".
func cellList(cells []Cell) string {
	var names []string
	for _, c := range cells {
		names = append(names, c.Name)
	}
	if n := len(names); n > 1 {
		return "cells " + strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return "cell " + strings.Join(names, "")
}

// checkData compares the data that cells were trained on with the current data set. It
// returns an error if the classes differ, and warns of other differences. If the data set
// cannot be read, it ignores that; executing the cells will report it.
func (s *Study) checkData(ctx context.Context, configs []*presets.Config, w *Watcher) error {
	now := map[datasets.Source]runs.Data{}
	var refused, warned cellsByReason
	for i, cell := range s.Cells {
		if configs[i] == nil {
			continue
		}
		src, refuse, warn := pipeline.Source(configs[i]), "", ""
		for _, was := range s.trainedOn(cell, configs[i], true) {
			if _, ok := now[src]; !ok {
				d, err := pipeline.CurrentData(ctx, src)
				if ctx.Err() != nil {
					return pipeline.ErrInterrupted
				}
				if err != nil {
					d = runs.Data{}
				}
				now[src] = d
			}
			if now[src].Classes == nil {
				break
			}
			what, classes := difference(was, now[src])
			if classes && refuse == "" {
				refuse = what
			} else if !classes && warn == "" {
				warn = what
			}
		}
		if refuse != "" {
			refused.add(refuse, cell)
		} else if warn != "" {
			warned.add(warn, cell)
		}
	}
	if len(refused.order) > 0 {
		return s.refusal(refused)
	}
	for _, why := range warned.order {
		w.event(nil, runs.Event{Kind: runs.Warning, Message: fmt.Sprintf(
			"the data have changed since the training of %s (%s): the results of cells that are trained now cannot be compared with theirs", cellList(warned.cells[why]), why)})
	}
	return nil
}

func (s *Study) refusal(refused cellsByReason) error {
	var b strings.Builder
	remove := "rm -r"
	for _, why := range refused.order {
		fmt.Fprintf(&b, "  %s: %s\n", cellList(refused.cells[why]), why)
		for _, c := range refused.cells[why] {
			dir := s.RunDir(c)
			if abs, err := filepath.Abs(dir); err == nil {
				dir = abs
			}
			remove += " " + printable.Word(dir)
		}
	}
	return &pipeline.Invalid{Err: fmt.Errorf("study %s cannot be resumed: %w:\n%sRestore the earlier data set, then:\n  %s\n"+
		"Or delete the runs of these cells and train them again on the current data:\n  %s && %[4]s",
		s.ID, ErrOtherData, b.String(), s.resumeCommand(s.Root), remove)}
}

// resumeCommand returns the shell command that resumes the study, whose runs are in root.
func (s *Study) resumeCommand(root string) string {
	if abs, err := filepath.Abs(root); err == nil {
		root = abs // so that the command works in any folder
	}
	return fmt.Sprintf("hatchery --runs-dir=%s study resume %s", printable.Word(root), s.ID)
}

// group holds the cells that were trained on the same data.
type group struct {
	runs.Data
	cells []int
}

// compareData sets DataDifference of cells that were trained on other data than most cells
// with the same data set.
func (s *Study) compareData(results []Result) {
	bySource := map[datasets.Source][]group{}
	data, sources := make([][]runs.Data, len(results)), make([]datasets.Source, len(results))
	for i, r := range results {
		c, err := s.Config(r.Cell)
		if err != nil {
			continue
		}
		data[i], sources[i] = s.trainedOn(r.Cell, c, false), pipeline.Source(c)
		// A stage that does not train fits any training images.
		trains := func(d runs.Data) bool { return d.Train.Count > 0 }
		for _, d := range data[i] {
			if trains(d) || !slices.ContainsFunc(data[i], trains) {
				bySource[sources[i]] = addToGroup(bySource[sources[i]], d, i)
			}
		}
	}
	for i, all := range data {
		if len(all) == 0 {
			continue
		}
		most := slices.MaxFunc(bySource[sources[i]], func(a, b group) int { return len(a.cells) - len(b.cells) }) // the first one of several
		for _, d := range all {
			if what, _ := difference(d, most.Data); what != "" {
				results[i].DataDifference = what
				break
			}
		}
	}
}

// addToGroup adds a cell to the group with the same data d, or to a new group.
func addToGroup(groups []group, d runs.Data, cell int) []group {
	for i := range groups {
		g := &groups[i]
		if what, _ := difference(d, g.Data); what != "" {
			continue
		}
		if !slices.Contains(g.cells, cell) {
			g.cells = append(g.cells, cell)
		}
		return groups
	}
	return append(groups, group{d, []int{cell}})
}
