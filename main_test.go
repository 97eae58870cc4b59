package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hatchery": func() { os.Exit(run()) }})
}

// TestCommands runs the scripts of the command line.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "tui/cli/testdata", RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != ""})
}
