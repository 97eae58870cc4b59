// Hatchery trains vision networks by Deep Model Assembling: it trains each module
// inside a small frozen meta model, then assembles the modules and fine-tunes the result.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"hatchery/engine/limits"
	"hatchery/engine/printable"
	"hatchery/presets"
	"hatchery/tui/cli"
)

// grammar defines the command line, one field for each command, in the order of --help.
type grammar struct {
	Version kong.VersionFlag `help:"Show the version of the program."`
	RunsDir string           `default:"${runs}" env:"HATCHERY_RUNS" placeholder:"DIR" help:"Folder of runs (default ${default})."`

	Tui     cli.Workbench `cmd:"" default:"withargs" help:"Open the workbench, as hatchery without a command does."`
	Run     cli.Run       `cmd:"" help:"Run an experiment: train, assemble, fine-tune, compare."`
	Resume  cli.Resume    `cmd:"" help:"Resume a run that was stopped, killed or paused."`
	Submit  cli.Submit    `cmd:"" help:"Run an experiment on a cluster, each stage as a Slurm job."`
	Stage   cli.Stage     `cmd:"" help:"Execute single stages of a run, on any machine that can access its folder."`
	Attach  cli.Attach    `cmd:"" help:"Watch a run of another process; Ctrl-C leaves it running."`
	Stop    cli.Stop      `cmd:"" help:"Save a checkpoint of a run of another process and stop it."`
	Pause   cli.Pause     `cmd:"" help:"Suspend a run of another process; it keeps its memory until it is resumed."`
	Wait    cli.Wait      `cmd:"" help:"Wait for the end of a run and exit with its code."`
	Logs    cli.Logs      `cmd:"" help:"Show the log of a run."`
	Queue   cli.Queue     `cmd:"" help:"List the runs that wait for this machine, or change their order."`
	Execute cli.Execute   `cmd:"" hidden:"" help:"Execute a detached run or study; the program starts this itself."`
	Status  cli.Status    `cmd:"" help:"Show the progress of a run."`
	Runs    cli.Runs      `cmd:"" help:"List the runs."`
	Presets cli.Presets   `cmd:"" help:"List the presets, or show one."`
	Plan    cli.Plan      `cmd:"" help:"Estimate the time and memory of an experiment, stage by stage."`
	Study   cli.Study     `cmd:"" help:"Run a grid of experiments: a figure of the paper."`
	Report  cli.Report    `cmd:"" help:"Write a run or a study as one web page, with tables, curves and settings."`
	Data    cli.Data      `cmd:"" help:"List the data sets, or fetch, verify, pack or partition one."`
	Doctor  cli.Doctor    `cmd:"" help:"Show what this machine has and what is missing."`
	Eval    cli.Eval      `cmd:"" help:"Evaluate a checkpoint of a run."`
	Help    cli.Help      `cmd:"" help:"Explain a topic, such as runs, data or slurm, or a command."`
}

const defaultRuns = "runs"

func main() { os.Exit(run()) }

// run runs the program and returns the exit code.
func run() int {
	out, errs := printable.NewWriter(os.Stdout), printable.NewWriter(os.Stderr)
	defer func() { _ = out.Flush() }() // the terminal is gone
	defer func() { _ = errs.Flush() }()
	var g grammar
	exit := -1
	parser, err := kong.New(&g, kong.Name("hatchery"), kong.UsageOnError(), kong.Vars{"version": cli.Version(), "runs": defaultRuns},
		kong.Description("Train vision networks by assembling modules (Deep Model Assembling)."),
		kong.Writers(out, errs), kong.Exit(func(code int) { exit = code }))
	if err != nil {
		fmt.Fprintln(errs, "hatchery:", err)
		return cli.ExitFailed
	}
	parsed, err := parser.Parse(os.Args[1:])
	if exit >= 0 { // --help, --version
		return exit
	}
	if err != nil {
		fmt.Fprintf(errs, "hatchery: %v; see hatchery --help\n", err)
		return cli.ExitBadInput
	}
	root, err := runsFolder(g.RunsDir)
	if err != nil {
		fmt.Fprintln(errs, "hatchery: the folder of runs (--runs-dir, HATCHERY_RUNS):", err)
		return cli.ExitBadInput
	}
	limits.Apply()
	defaultRoot, err := runsFolder(os.Getenv("HATCHERY_RUNS"))
	app := &cli.App{Out: out, Err: errs, Root: root, CustomRoot: err != nil || root != defaultRoot}
	command := parsed.Selected().Target.Addr().Interface().(cli.Command)
	return app.Do(command)
}

// runsFolder returns the folder of runs. An empty HATCHERY_RUNS counts as unset. A "~" is
// expanded, because shells do not expand it in --runs-dir=~/x.
func runsFolder(dir string) (string, error) {
	switch {
	case dir == "":
		return defaultRuns, nil
	case strings.HasPrefix(dir, "~"):
		return presets.Absolute(dir, "")
	}
	return dir, nil
}
