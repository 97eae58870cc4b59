package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"hatchery/datasets"
	"hatchery/engine/quantity"
)

// DataPack writes a data set as packs.
type DataPack struct {
	DataArg
	To   string `arg:"" help:"Folder for the packs; use it as data.root."`
	Side int    `required:"" placeholder:"N" help:"Resize the shorter side of pictures to N pixels: at least 256/224 of the largest evaluated image size (256 for 224, 438 for 384). More keeps small crops sharper; 0 keeps the files as they are."`
	DataFrom
	PackAs
}

func (*DataPack) Effect() Effect { return Acts }

func (cmd *DataPack) Run(ctx context.Context, a *App) error {
	b := bar{app: a}
	o := datasets.PackOptions{Shorter: cmd.Side, Quality: cmd.Quality, Progress: b.images}
	if err := o.Check(); err != nil {
		return badInput{err}
	}
	root, to, err := rootAndTarget(cmd.Set, cmd.Root, cmd.To)
	if err != nil {
		return err
	}
	countSkipped := a.printSkipped(&o)
	err = datasets.Pack(ctx, datasets.Source{Name: cmd.Set, Root: root, SkipCorrupt: cmd.SkipCorrupt}, to, o)
	b.end()
	countSkipped()
	if err != nil {
		return dataError(err)
	}
	return a.describePacks(ctx, cmd.Set, []string{to}, o)
}

// rootAndTarget returns the folders to read from and to write to, with "~" expanded,
// because shells do not expand it in --root=~/x.
func rootAndTarget(set, from, to string) (root, target string, err error) {
	if _, err := datasets.Describe(set); err != nil {
		return "", "", badInput{err}
	}
	if to == "" {
		return "", "", badInput{errors.New("the name of the folder to write to is empty")}
	}
	if root, err = expandHome(from); err != nil {
		return "", "", err
	}
	if target, err = expandHome(to); err != nil {
		return "", "", err
	}
	if a, err := os.Stat(target); err == nil && root != "" {
		if b, err := os.Stat(root); err == nil && os.SameFile(a, b) {
			return "", "", badInput{fmt.Errorf("%s is the folder of the data set itself, and packs in it would change the data of every run that uses it; choose another folder", target)}
		}
	}
	return root, target, nil
}

// dataError marks errors that the user can correct as bad input.
func dataError(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*datasets.PartsError)) {
		return badInput{err}
	}
	return err
}

// printSkipped makes packing print the name of each picture that it leaves out. The
// returned function prints their number.
func (a *App) printSkipped(o *datasets.PackOptions) (count func()) {
	var all []error
	o.Skipped = func(err error) {
		all = append(all, err)
		fmt.Fprintf(a.Err, "left out: %v\n", err)
	}
	return func() {
		if len(all) > 0 {
			fmt.Fprintf(a.Err, "%d pictures left out: %s\n", len(all), datasets.Undecodable(all))
		}
	}
}

// describePacks prints which files were written, how they change the pixels, and how to use
// them.
func (a *App) describePacks(ctx context.Context, set string, dirs []string, o datasets.PackOptions) error {
	for _, dir := range dirs {
		info, err := datasets.Inspect(ctx, datasets.Source{Name: set, Root: dir})
		if err != nil {
			return err
		}
		for _, name := range []string{"train.pack", "val.pack"} {
			stat, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "%s  %s\n", filepath.Join(dir, name), quantity.Bytes(stat.Size()))
		}
		if info.Height > 0 {
			o = datasets.PackOptions{} // small images are never resized
		}
	}
	fmt.Fprintf(a.Out, "%s\nuse it with: -s data.name=%s -s data.root=%s\n", o.Effect(), set, dirs[0])
	if len(dirs) > 1 {
		fmt.Fprintln(a.Out, "each folder is for the machine that trains the module with its number, with -s data.partition=true")
		fmt.Fprintf(a.Out, "for the jobs of a cluster, use: -s data.partition=true -s launch.parts=%s; stages that need all images read the whole data set\n", filepath.Dir(dirs[0]))
	}
	return nil
}
