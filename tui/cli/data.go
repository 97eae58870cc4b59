package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"

	"hatchery/datasets"
	"hatchery/datasets/fetch"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/presets"
)

// FetchOptions are the flags of `data fetch`.
type FetchOptions struct {
	To     string `placeholder:"DIR" help:"Folder to put it into; without it, among your own data, where it is found by itself."`
	Mirror string `env:"HATCHERY_MIRROR" placeholder:"URL" help:"Fetch URL/SET/FILE rather than from the makers. Sizes and checksums must be the same."`
}

// DataFrom are the flags of the commands that read a data set.
type DataFrom struct {
	Root string `placeholder:"DIR" help:"Folder with its files; without it, the usual places."`
}

// PackAs are the flags of the commands that write packs.
type PackAs struct {
	Quality     int  `placeholder:"Q" help:"Write what is resized as JPEG of this quality, 1 to 100; without it, as raw pixels."`
	SkipCorrupt bool `help:"Leave out pictures that cannot be decoded, and name them."`
}

// Partition are the flags of `data partition`.
type Partition struct {
	Parts int    `required:"" placeholder:"K" help:"Number of parts: that of modules."`
	Seed  uint64 `default:"0" help:"Decides which images are in which part; experiments use 0 (default ${default})."`
	Side  int    `placeholder:"N" help:"Resize the shorter side of pictures to N pixels; without it, keep them as they are."`
}

// ListData lists the data sets and where they are.
func (a *App) ListData(ctx context.Context) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SET\tTRAINING\tEVALUATION\tCLASSES\tHERE\tABOUT")
	for _, name := range datasets.Names() {
		info, err := datasets.Describe(name)
		if err != nil {
			return err
		}
		here := "yes"
		if name == datasets.Folder {
			here = "data.root"
		} else if err := datasets.Check(ctx, datasets.Source{Name: name}); ctx.Err() != nil {
			return ctx.Err()
		} else if errors.Is(err, fs.ErrNotExist) {
			here = "no"
		} else if err != nil {
			here = "damaged"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, orAny(info.Train), orAny(info.Eval), orAny(len(info.Classes)), here, info.About)
	}
	return w.Flush()
}

// orAny writes a number that each folder of pictures has its own of.
func orAny(n int) string {
	if n == 0 {
		return "any"
	}
	return fmt.Sprint(n)
}

// FetchData gets a data set from its makers or a mirror.
func (a *App) FetchData(ctx context.Context, set string, o FetchOptions) error {
	files, err := fetch.Files(set)
	if err != nil {
		if _, unknown := datasets.Describe(set); unknown != nil {
			return badInput{unknown}
		}
		if missing := datasets.Check(ctx, datasets.Source{Name: set}); missing != nil {
			err = missing // it says how to come by the set
		}
		return badInput{err}
	}
	dir, err := expanded(o.To)
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = datasets.Home(set); err != nil {
			return fmt.Errorf("finding the folder for data: %w; name one with --to", err)
		}
	}
	b := bar{app: a}
	err = fetch.Fetch(ctx, files, dir, fetch.Options{Mirror: o.Mirror, Progress: func(f *fetch.File, n int64) {
		b.show(f.Name, n, f.Size, true)
	}})
	b.end()
	if ctx.Err() != nil {
		fmt.Fprintln(a.Err, "stopped; the same command goes on where it is")
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	if err := datasets.Check(ctx, datasets.Source{Name: set, Root: dir}); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s is in %s, complete and with the right checksums\n", set, dir)
	if o.To != "" {
		fmt.Fprintf(a.Out, "use it with: -s data.name=%s -s data.root=%s\n", set, dir)
	}
	return nil
}

// VerifyData reads all of a data set: checksums of fetched files, and every image.
func (a *App) VerifyData(ctx context.Context, set string, from DataFrom) error {
	if _, err := datasets.Describe(set); err != nil {
		return badInput{err}
	}
	root, err := expanded(from.Root)
	if err != nil {
		return err
	}
	dir := root
	if dir == "" {
		dir, _ = datasets.Home(set) // without one nothing was fetched
	}
	files, _ := fetch.Files(set) // others have no checksums
	var wrong error
	for i := range files {
		f := &files[i]
		switch err := fetch.Verify(ctx, f, dir); {
		case err == nil:
			fmt.Fprintf(a.Out, "%s: size and SHA-256 are right\n", f.Name)
		case errors.As(err, new(*fetch.Mismatch)):
			wrong = errors.Join(wrong, fmt.Errorf("%s is not the file that its makers publish: %w; fetch it again", filepath.Join(dir, f.Name), err))
		case !errors.Is(err, fs.ErrNotExist): // unpacked or installed in another way
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

// PackData writes a data set as packs.
func (a *App) PackData(ctx context.Context, set, to string, side int, from DataFrom, as PackAs) error {
	b := bar{app: a}
	o := datasets.PackOptions{Shorter: side, Quality: as.Quality, Progress: b.images}
	if err := o.Check(); err != nil {
		return badInput{err}
	}
	root, to, err := rootAndTarget(set, from, to)
	if err != nil {
		return err
	}
	skipped := a.nameSkipped(&o)
	err = datasets.Pack(ctx, datasets.Source{Name: set, Root: root, SkipCorrupt: as.SkipCorrupt}, to, o)
	b.end()
	skipped()
	if err != nil {
		return dataError(err)
	}
	return a.packed(ctx, set, []string{to}, o)
}

// rootAndTarget returns the folders to read from and to write to, with "~" expanded,
// since shells do not expand it in --root=~/x.
func rootAndTarget(set string, from DataFrom, to string) (root, target string, err error) {
	if _, err := datasets.Describe(set); err != nil {
		return "", "", badInput{err}
	}
	if to == "" {
		return "", "", badInput{errors.New("the name of the folder to write to is empty")}
	}
	if root, err = expanded(from.Root); err != nil {
		return "", "", err
	}
	if target, err = expanded(to); err != nil {
		return "", "", err
	}
	if a, err := os.Stat(target); err == nil && root != "" {
		if b, err := os.Stat(root); err == nil && os.SameFile(a, b) {
			return "", "", badInput{fmt.Errorf("%s is the data set itself, which the packs would change for every run that uses it; give another folder to write to", target)}
		}
	}
	return root, target, nil
}

// expanded expands a "~" at the beginning of a path from the command line. Other paths
// stay as they were typed.
func expanded(path string) (string, error) {
	if !strings.HasPrefix(path, "~") {
		return path, nil
	}
	path, err := presets.Absolute(path, "")
	if err != nil {
		return "", badInput{err}
	}
	return path, nil
}

// dataError marks errors that the user can correct as bad input.
func dataError(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*datasets.PartsError)) {
		return badInput{err}
	}
	return err
}

// PartitionData writes the parts of a data set as packs.
func (a *App) PartitionData(ctx context.Context, set, to string, p Partition, from DataFrom, as PackAs) error {
	b := bar{app: a}
	o := datasets.PackOptions{Shorter: p.Side, Quality: as.Quality, Progress: b.images}
	if err := o.Check(); err != nil {
		return badInput{err}
	}
	if p.Parts < 1 {
		return badInput{fmt.Errorf("--parts=%d: %w", p.Parts, &datasets.PartsError{K: p.Parts})}
	}
	root, to, err := rootAndTarget(set, from, to)
	if err != nil {
		return err
	}
	skipped := a.nameSkipped(&o)
	err = datasets.WriteParts(ctx, datasets.Source{Name: set, Root: root, SkipCorrupt: as.SkipCorrupt}, to, p.Parts, p.Seed, o)
	b.end()
	skipped()
	if err != nil {
		return dataError(err)
	}
	var dirs []string
	for i := range p.Parts {
		dirs = append(dirs, filepath.Join(to, fmt.Sprintf("part-%d", i+1)))
	}
	return a.packed(ctx, set, dirs, o)
}

// nameSkipped makes packing print the name of each picture that it leaves out. count
// prints how many there were.
func (a *App) nameSkipped(o *datasets.PackOptions) (count func()) {
	var all []error
	o.Skipped = func(err error) {
		all = append(all, err)
		fmt.Fprintf(a.Err, "left out: %v\n", err)
	}
	return func() {
		if len(all) > 0 {
			fmt.Fprintf(a.Err, "%d pictures are left out: %s\n", len(all), datasets.Undecodable(all))
		}
	}
}

// packed says what was written, what it does to the pixels, and how to use it.
func (a *App) packed(ctx context.Context, set string, dirs []string, o datasets.PackOptions) error {
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
		fmt.Fprintln(a.Out, "each folder serves the machine that trains the module of its number, with -s data.partition=true")
		fmt.Fprintf(a.Out, "jobs of a cluster read their own, and what needs all images reads those, with -s data.partition=true -s launch.parts=%s\n", filepath.Dir(dirs[0]))
	}
	return nil
}

// bar shows on a terminal how far a file is; elsewhere it shows nothing.
type bar struct {
	app  *App
	name string
	bar  *progressbar.ProgressBar
}

func (b *bar) images(file string, done, total int) { b.show(file, int64(done), int64(total), false) }

// show is told of every step of a file, then of the next file.
func (b *bar) show(name string, done, total int64, bytes bool) {
	width := terminalWidth(b.app.Err)
	if width == 0 {
		return
	}
	if b.name != name {
		b.end()
		b.name = name
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(printable.Raw(b.app.Err)), progressbar.OptionSetDescription(printable.Line(filepath.Base(name))),
			progressbar.OptionShowBytes(bytes), progressbar.OptionUseIECUnits(true), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(max(5, width-75)),
			progressbar.OptionThrottle(time.Second/5))
	}
	_ = b.bar.Set64(done) // a terminal that is gone is no reason to stop
}

// end leaves the line of the bar.
func (b *bar) end() {
	if b.bar != nil {
		_ = b.bar.Exit()
		fmt.Fprintln(b.app.Err)
		b.bar = nil
	}
}
