package tui_test

import (
	"context"
	"log"
	"os"

	"hatchery/tui"
)

// Example shows the workbench over the runs of a folder, which it cannot start: for
// that, it needs a Launcher.
func Example() {
	err := tui.Run(context.Background(), tui.Options{Root: "runs", In: os.Stdin, Out: os.Stdout, Env: os.Environ()})
	if err != nil {
		log.Fatal(err)
	}
}
