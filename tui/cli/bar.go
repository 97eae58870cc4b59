package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"

	"hatchery/engine/printable"
)

// bar is a progress bar for files. It shows nothing if the output is not a terminal.
type bar struct {
	app  *App
	name string
	bar  *progressbar.ProgressBar
}

func (b *bar) images(file string, done, total int) { b.show(file, int64(done), int64(total), false) }

// show sets the progress of the named file. A new name ends the bar of the previous file.
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
	_ = b.bar.Set64(done) // losing the terminal is no reason to stop
}

// end ends the bar and its line.
func (b *bar) end() {
	if b.bar != nil {
		_ = b.bar.Exit()
		fmt.Fprintln(b.app.Err)
		b.bar = nil
	}
}
