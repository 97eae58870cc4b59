package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"hatchery/datasets"
	"hatchery/datasets/fetch"
)

// DataVerify checks a data set: the checksums of downloaded files, and every image.
type DataVerify struct {
	DataArg
	DataFrom
}

func (*DataVerify) Effect() Effect { return Reads }

func (cmd *DataVerify) Run(ctx context.Context, a *App) error {
	set := cmd.Set
	if _, err := datasets.Describe(set); err != nil {
		return badInput{err}
	}
	root, err := expandHome(cmd.Root)
	if err != nil {
		return err
	}
	dir := root
	if dir == "" {
		dir, _ = datasets.Home(set) // without a home folder, nothing was downloaded
	}
	files, _ := fetch.Files(set) // none for sets without checksums
	var wrong error
	for i := range files {
		f := &files[i]
		switch err := fetch.Verify(ctx, f, dir); {
		case err == nil:
			fmt.Fprintf(a.Out, "%s: size and SHA-256 are correct\n", f.Name)
		case errors.As(err, new(*fetch.Mismatch)):
			wrong = errors.Join(wrong, fmt.Errorf("%s is not the published file: %w; fetch it again", filepath.Join(dir, f.Name), err))
		case !errors.Is(err, fs.ErrNotExist): // the set was unpacked, or installed in another way
			return err
		}
	}
	err = datasets.Verify(ctx, datasets.Source{Name: set, Root: root})
	if errors.Is(err, fs.ErrNotExist) {
		return badInput{err}
	}
	if err := errors.Join(wrong, err); err != nil {
		return err
	}
	info, err := datasets.Inspect(ctx, datasets.Source{Name: set, Root: root})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s: all %d training and %d evaluation images of %d classes can be read\n", set, info.Train, info.Eval, len(info.Classes))
	return nil
}
