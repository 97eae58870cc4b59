package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"hatchery/engine/runs"
	"hatchery/engine/study"
)

// Study holds the commands on studies.
type Study struct {
	Run    StudyRun    `cmd:"" default:"withargs" help:"Run a study."`
	List   StudyList   `cmd:"" help:"List the available studies and those that were started."`
	Resume StudyResume `cmd:"" help:"Resume a study that was interrupted or killed."`
	Stop   StudyStop   `cmd:"" help:"Save a checkpoint of a study of another process and stop it."`
	Status StudyStatus `cmd:"" help:"Show the results of a study so far."`
	Show   StudyShow   `cmd:"" help:"Show a study's file."`
}

// findStudy opens a study by its id or the beginning of one.
func (a *App) findStudy(name string) (*study.Study, error) {
	if filepath.Base(filepath.Dir(filepath.Clean(name))) == runs.StudiesDir {
		name = filepath.Base(name) // the path of its folder, for shells that complete paths
	}
	all, broken, err := study.List(a.Root)
	if err != nil {
		return nil, err
	}
	for _, b := range broken {
		if b.ID == name {
			return nil, fmt.Errorf("study %s cannot be read: %w", b.ID, b.Err)
		}
	}
	var found []*study.Study
	for _, s := range all {
		if s.ID == name {
			return s, nil
		}
		if strings.HasPrefix(s.ID, name) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, badInput{fmt.Errorf("no study %[2]q in %[1]s; `hatchery study list` lists the studies", a.Root, name)}
	}
	return nil, badInput{fmt.Errorf("%d studies in %s begin with %q; give a longer part of the name", len(found), a.Root, name)}
}

// results reads the results of s. If ctx is done, it returns the error of ctx.
func results(ctx context.Context, s *study.Study) ([]study.Result, error) {
	all := s.Results(ctx)
	return all, ctx.Err()
}

func unfinished(results []study.Result) int {
	n := 0
	for _, r := range results {
		if r.Phase != runs.Finished {
			n++
		}
	}
	return n
}
