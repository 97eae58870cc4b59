package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"hatchery/datasets"
)

// DataPartition writes the parts of a data set as packs.
type DataPartition struct {
	DataArg
	To    string `arg:"" help:"Folder for part-1 to part-K; use each as data.root."`
	Parts int    `required:"" placeholder:"K" help:"Number of parts: the number of modules."`
	Seed  uint64 `default:"0" help:"Seed that decides which images are in which part; experiments use 0 (default ${default})."`
	Side  int    `placeholder:"N" help:"Resize the shorter side of pictures to N pixels; without it, keep them as they are."`
	DataFrom
	PackAs
}

func (*DataPartition) Effect() Effect { return Acts }

func (cmd *DataPartition) Run(ctx context.Context, a *App) error {
	b := bar{app: a}
	o := datasets.PackOptions{Shorter: cmd.Side, Quality: cmd.Quality, Progress: b.images}
	if err := o.Check(); err != nil {
		return badInput{err}
	}
	if cmd.Parts < 1 {
		return badInput{fmt.Errorf("--parts=%d: %w", cmd.Parts, &datasets.PartsError{K: cmd.Parts})}
	}
	root, to, err := rootAndTarget(cmd.Set, cmd.Root, cmd.To)
	if err != nil {
		return err
	}
	countSkipped := a.printSkipped(&o)
	err = datasets.WriteParts(ctx, datasets.Source{Name: cmd.Set, Root: root, SkipCorrupt: cmd.SkipCorrupt}, to, cmd.Parts, cmd.Seed, o)
	b.end()
	countSkipped()
	if err != nil {
		return dataError(err)
	}
	var dirs []string
	for i := range cmd.Parts {
		dirs = append(dirs, filepath.Join(to, fmt.Sprintf("part-%d", i+1)))
	}
	return a.describePacks(ctx, cmd.Set, dirs, o)
}
