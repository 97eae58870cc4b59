// Hatchery trains vision networks by Deep Model Assembling: module by module
// inside a small frozen meta model, then assembled and fine-tuned.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"hatchery/engine/launch"
	"hatchery/engine/limits"
	"hatchery/engine/printable"
	"hatchery/presets"
	"hatchery/tui/cli"
)

// grammar is the command line.
type grammar struct {
	Version kong.VersionFlag `help:"Show the version of the program."`
	RunsDir string           `default:"${runs}" env:"HATCHERY_RUNS" placeholder:"DIR" help:"Folder of runs (default ${default})."`

	Tui struct {
		Run string `arg:"" optional:"" help:"A run to show: its name, the beginning of one, or its folder."`
		cli.Screen
	} `cmd:"" default:"withargs" help:"The workbench in this terminal; what hatchery alone does too."`
	Run struct {
		Preset string   `arg:"" help:"A preset's name, or a TOML file."`
		Set    []string `short:"s" sep:"none" placeholder:"KEY=VALUE" help:"Change a value of the preset: modules.k=8."`
		cli.Start
	} `cmd:"" help:"Run an experiment: train, assemble, fine-tune, compare."`
	Resume struct {
		Run string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		cli.Start
	} `cmd:"" help:"Go on with a run that was stopped, killed or paused."`
	Submit struct {
		Preset string   `arg:"" help:"A preset's name, or a TOML file."`
		Set    []string `short:"s" sep:"none" placeholder:"KEY=VALUE" help:"Change a value of the preset: modules.k=8."`
		cli.Submission
	} `cmd:"" help:"Run an experiment on a cluster: each stage a job of Slurm's."`
	Stage struct {
		Run    string   `arg:"" help:"A run's name, the beginning of one, or its folder."`
		Stages []string `arg:"" name:"stage" help:"Stages to execute, one after another: meta, module-1, assemble, ..."`
		cli.StageStart
	} `cmd:"" help:"Execute single stages of a run, on any machine that sees its folder, while others execute others."`
	Attach struct {
		Run  string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		JSON bool   `help:"Write events as JSON, one a line."`
	} `cmd:"" help:"Watch a run of another process; Ctrl-C leaves it running."`
	Stop struct {
		Run        string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		AfterEpoch bool   `help:"At the end of the epoch under way, rather than after the step."`
		Kill       bool   `help:"At once, without a checkpoint."`
	} `cmd:"" help:"Save a checkpoint of a run of another process and stop it."`
	Pause struct {
		Run string `arg:"" help:"A run's name, the beginning of one, or its folder."`
	} `cmd:"" help:"Make a run of another process idle, its memory kept, until it is resumed."`
	Wait struct {
		Run string `arg:"" help:"A run's name, the beginning of one, or its folder."`
	} `cmd:"" help:"Wait for the end of a run and exit with its code."`
	Logs struct {
		Run    string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		Follow bool   `short:"f" help:"Go on until the run ends."`
	} `cmd:"" help:"Show the log of a run."`
	Queue struct {
		List struct{} `cmd:"" default:"1" hidden:"" help:"List the queue."`
		Up   struct {
			Run string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		} `cmd:"" help:"Let a run begin before the one in front of it."`
		Down struct {
			Run string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		} `cmd:"" help:"Let the one behind a run begin before it."`
		Remove struct {
			Run string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		} `cmd:"" help:"Take a run out of the queue; resume puts it back."`
	} `cmd:"" help:"List the runs that wait for this machine to be free, or change their order."`
	Execute struct {
		Step  string `hidden:""`
		Queue bool   `hidden:""`
		Study bool   `hidden:""`
		Run   string `arg:""`
	} `cmd:"" hidden:"" help:"What the process of a detached run or study does."`
	Status struct {
		Run  string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		JSON bool   `help:"Write the state as JSON: state, liveness, pid, host, folder, stage, progress (0 to 1), eta and heartbeat_age (seconds), message, and the stages with their curves."`
	} `cmd:"" help:"Show how far a run is."`
	Runs    struct{} `cmd:"" help:"List the runs."`
	Presets struct {
		List struct{} `cmd:"" default:"1" hidden:"" help:"List the presets."`
		Show struct {
			Preset   string   `arg:"" help:"A preset's name, or a TOML file."`
			Set      []string `short:"s" sep:"none" placeholder:"KEY=VALUE" help:"Change a value of the preset."`
			Resolved bool     `help:"Show every value, inherited ones too."`
		} `cmd:"" help:"Show a preset."`
	} `cmd:"" help:"List the presets, or show one."`
	Plan struct {
		Preset string   `arg:"" help:"A preset's name, or a TOML file."`
		Set    []string `short:"s" sep:"none" placeholder:"KEY=VALUE" help:"Change a value of the preset."`
	} `cmd:"" help:"Show what an experiment will take, stage by stage."`
	Study struct {
		Run struct {
			Study string `arg:"" help:"A study's name, or a TOML file."`
			cli.StudyStart
		} `cmd:"" default:"withargs" help:"Run a study."`
		List   struct{} `cmd:"" help:"List the studies, and those that were begun."`
		Resume struct {
			Study string `arg:"" help:"What a study that was begun is called, or the beginning of it."`
			cli.StudyProcess
		} `cmd:"" help:"Go on with a study that was interrupted or killed."`
		Stop struct {
			Study string `arg:"" help:"What a study that was begun is called, or the beginning of it."`
		} `cmd:"" help:"Save a checkpoint of a study of another process and stop it."`
		Status struct {
			Study string `arg:"" help:"What a study that was begun is called, or the beginning of it."`
			JSON  bool   `help:"Write the results as JSON."`
		} `cmd:"" help:"Show what a study has come to."`
		Show struct {
			Study string `arg:"" help:"A study's name."`
		} `cmd:"" help:"Show a study's file."`
	} `cmd:"" help:"Run a grid of experiments: a figure of the paper."`
	Report struct {
		Name string `arg:"" help:"A run's or a study's name, or the beginning of one."`
		Out  string `short:"o" placeholder:"FILE" help:"Where to write the page; by default NAME.html in this folder."`
		CSV  string `name:"csv" placeholder:"DIR" help:"Write tables and curves as CSV files into this folder too."`
	} `cmd:"" help:"Write a run or a study as one web page, with tables, curves and settings."`
	Data struct {
		List  struct{} `cmd:"" default:"1" hidden:"" help:"List the data sets."`
		Fetch struct {
			Set string `arg:"" help:"A data set's name."`
			cli.FetchOptions
		} `cmd:"" help:"Get a data set from its makers or a mirror; what was interrupted goes on."`
		Verify struct {
			Set string `arg:"" help:"A data set's name."`
			cli.DataFrom
		} `cmd:"" help:"Read all of a data set: checksums, labels, every image."`
		Pack struct {
			Set  string `arg:"" help:"A data set's name."`
			To   string `arg:"" help:"Folder for the packs, to be used as data.root."`
			Side int    `required:"" placeholder:"N" help:"Resize the shorter side of pictures to N pixels: at least 256/224 of the largest image that is evaluated (256 for 224, 438 for 384); more keeps small crops sharper; 0 keeps files as they are."`
			cli.DataFrom
			cli.PackAs
		} `cmd:"" help:"Write a data set as one file a split, which takes little or no decoding."`
		Partition struct {
			Set string `arg:"" help:"A data set's name."`
			To  string `arg:"" help:"Folder for part-1 to part-K, each to be used as data.root."`
			cli.Partition
			cli.DataFrom
			cli.PackAs
		} `cmd:"" help:"Write K class-balanced parts of a data set, one for the machine of each module."`
	} `cmd:"" help:"List the data sets, or fetch, verify, pack or divide one."`
	Doctor struct{} `cmd:"" help:"Show what this machine has, and what is missing."`
	Eval   struct {
		Run   string `arg:"" help:"A run's name, the beginning of one, or its folder."`
		Stage string `default:"finetune" help:"Stage whose weights to evaluate (default ${default})."`
		Best  bool   `help:"The best checkpoint rather than the last."`
	} `cmd:"" help:"Evaluate a checkpoint of a run."`
}

const (
	defaultRuns = "runs"

	executeCommand = launch.Command + " <run>"
	stageCommand   = "stage <run> <stage>"
)

func main() { os.Exit(run()) }

// run is the program; it returns the exit code.
func run() int {
	var g grammar
	exit := -1
	out, errs := printable.NewWriter(os.Stdout), printable.NewWriter(os.Stderr)
	defer out.Flush()
	defer errs.Flush()
	parser, err := newParser(&g, out, errs, func(code int) { exit = code })
	if err != nil {
		fmt.Fprintln(errs, "hatchery:", err)
		return cli.ExitFailed
	}
	command, err := parser.Parse(os.Args[1:])
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
	usual, err := runsFolder(os.Getenv("HATCHERY_RUNS"))
	app := &cli.App{Out: out, Err: errs, Root: root, Elsewhere: err != nil || root != usual}
	name := command.Command()
	effect := g.effect(name)
	if effect == trains {
		defer app.Unhurried()()
	}
	if name == executeCommand {
		// It has its own way with signals and errors.
		return cli.Code(app.Execute(launch.Task{Step: g.Execute.Step, Queue: g.Execute.Queue, Study: g.Execute.Study, Dir: g.Execute.Run}))
	}
	ctx, stop := interruptible(effect, name == stageCommand, name == stageCommand && g.Stage.Slurm, app.Err)
	defer stop()
	err = dispatch(ctx, app, name, &g)
	if err == nil {
		return cli.ExitDone
	}
	if !errors.Is(err, context.Canceled) {
		fmt.Fprintln(app.Err, "hatchery:", err)
	} else if s := (cli.Signalled{}); effect != trains && errors.As(context.Cause(ctx), &s) {
		return s.ExitCode()
	}
	return cli.Code(err)
}

// newParser returns the parser of the command line. After --help and --version it
// calls exit.
func newParser(g *grammar, out, errs io.Writer, exit func(code int)) (*kong.Kong, error) {
	return kong.New(g, kong.Name("hatchery"), kong.UsageOnError(), kong.Vars{"version": cli.Version(), "runs": defaultRuns},
		kong.Description("Train vision networks by assembling modules (Deep Model Assembling)."),
		kong.Writers(out, errs), kong.Exit(exit))
}

// runsFolder returns the folder of runs. An empty HATCHERY_RUNS counts as not set, and
// "~" is expanded, since shells do not expand it in --runs-dir=~/x.
func runsFolder(dir string) (string, error) {
	switch {
	case dir == "":
		return defaultRuns, nil
	case strings.HasPrefix(dir, "~"):
		return presets.Absolute(dir, "")
	}
	return dir, nil
}

// effect is what a command does. It decides what a signal does to the command.
type effect int

const (
	looks  effect = iota // shows something and changes nothing
	acts                 // changes something, or waits for another process to do so
	trains               // executes stages in this process
)

// effect returns the effect of a command with its flags.
func (g *grammar) effect(command string) effect {
	detached := false
	switch command {
	case executeCommand, stageCommand:
		return trains
	case "run <preset>":
		detached = g.Run.Detach || g.Run.Queue
	case "resume <run>":
		detached = g.Resume.Detach || g.Resume.Queue
	case "study run <study>", "study <study>":
		detached = g.Study.Run.Detach
	case "study resume <study>":
		detached = g.Study.Resume.Detach
	case "tui", "tui <run>", "submit <preset>", "stop <run>", "pause <run>", "queue up <run>", "queue down <run>", "queue remove <run>",
		"study stop <study>", "data fetch <set>", "data pack <set> <to>", "data partition <set> <to>":
		return acts
	default:
		return looks
	}
	if detached {
		return acts
	}
	return trains
}

func dispatch(ctx context.Context, app *cli.App, command string, g *grammar) error {
	switch command {
	case stageCommand:
		return app.Stages(ctx, g.Stage.Run, g.Stage.Stages, g.Stage.StageStart)
	case "tui", "tui <run>":
		return app.Workbench(ctx, g.Tui.Run, g.Tui.Screen)
	case "run <preset>":
		return app.Run(ctx, g.Run.Preset, g.Run.Set, g.Run.Start)
	case "resume <run>":
		return app.Resume(ctx, g.Resume.Run, g.Resume.Start)
	case "submit <preset>":
		return app.Submit(ctx, g.Submit.Preset, g.Submit.Set, g.Submit.Submission)
	case "attach <run>":
		return app.Attach(ctx, g.Attach.Run, g.Attach.JSON)
	case "stop <run>":
		return app.Stop(ctx, g.Stop.Run, g.Stop.AfterEpoch, g.Stop.Kill)
	case "pause <run>":
		return app.Pause(ctx, g.Pause.Run)
	case "wait <run>":
		return app.Wait(ctx, g.Wait.Run)
	case "logs <run>":
		return app.Logs(ctx, g.Logs.Run, g.Logs.Follow)
	case "queue list":
		return app.Queue()
	case "queue up <run>":
		return app.MoveInQueue(ctx, g.Queue.Up.Run, -1)
	case "queue down <run>":
		return app.MoveInQueue(ctx, g.Queue.Down.Run, 1)
	case "queue remove <run>":
		return app.LeaveQueue(ctx, g.Queue.Remove.Run)
	case "status <run>":
		return app.Status(ctx, g.Status.Run, g.Status.JSON)
	case "runs":
		return app.Runs(ctx)
	case "presets list":
		return app.Presets()
	case "presets show <preset>":
		return app.ShowPreset(g.Presets.Show.Preset, g.Presets.Show.Set, g.Presets.Show.Resolved)
	case "plan <preset>":
		return app.Plan(ctx, g.Plan.Preset, g.Plan.Set)
	case "study run <study>", "study <study>":
		return app.Study(ctx, g.Study.Run.Study, g.Study.Run.StudyStart)
	case "study list":
		return app.Studies()
	case "study resume <study>":
		return app.ResumeStudy(ctx, g.Study.Resume.Study, g.Study.Resume.StudyProcess)
	case "study stop <study>":
		return app.StopStudy(ctx, g.Study.Stop.Study)
	case "study status <study>":
		return app.StudyStatus(g.Study.Status.Study, g.Study.Status.JSON)
	case "study show <study>":
		return app.ShowStudy(g.Study.Show.Study)
	case "report <name>":
		return app.Report(g.Report.Name, g.Report.Out, g.Report.CSV)
	case "data list":
		return app.ListData(ctx)
	case "data fetch <set>":
		return app.FetchData(ctx, g.Data.Fetch.Set, g.Data.Fetch.FetchOptions)
	case "data verify <set>":
		return app.VerifyData(ctx, g.Data.Verify.Set, g.Data.Verify.DataFrom)
	case "data pack <set> <to>":
		d := &g.Data.Pack
		return app.PackData(ctx, d.Set, d.To, d.Side, d.DataFrom, d.PackAs)
	case "data partition <set> <to>":
		d := &g.Data.Partition
		return app.PartitionData(ctx, d.Set, d.To, d.Partition, d.DataFrom, d.PackAs)
	case "doctor":
		return app.Doctor(ctx)
	case "eval <run>":
		return app.Eval(ctx, g.Eval.Run, g.Eval.Stage, g.Eval.Best)
	}
	return fmt.Errorf("no code for command %q", command)
}

// leaveWithin is how long a command that only looks may take to end by itself after a
// signal. It is too short for a user to notice.
const leaveWithin = 100 * time.Millisecond

// interruptible returns a context that ends with the first Ctrl-C, SIGTERM or loss of
// the terminal. Its cause is then a cli.Signalled.
//
// After the first signal a command that trains saves a checkpoint, and says so on errs,
// and a command that acts finishes what it is doing. A second signal ends either at
// once. A command that only looks ends within leaveWithin. A stage also reacts to
// SIGUSR1. In a Slurm job it gets several signals and does not leave at the second,
// since Slurm kills it when its time is up.
func interruptible(e effect, stage, slurm bool, errs io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if stage {
		signal.Notify(signals, syscall.SIGUSR1)
	}
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		for s := range signals {
			cause := cli.Signalled{Signal: s}
			if ctx.Err() != nil && !slurm {
				if e == trains {
					os.Exit(cli.ExitInterrupted)
				}
				os.Exit(cause.ExitCode())
			}
			cancel(cause)
			switch {
			case e == looks:
				time.AfterFunc(leaveWithin, func() { os.Exit(cause.ExitCode()) })
			case e == trains && !slurm:
				fmt.Fprintln(errs, "\nstopping after this step; another Ctrl-C leaves at once, without a checkpoint")
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}
