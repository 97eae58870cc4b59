package launch

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// The test binary is also the process of a run, and other programs that tests need, depending
// on the role in its environment.
const roleEnv = "HATCHERY_TEST_ROLE"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		flags := flag.NewFlagSet(Command, flag.ExitOnError)
		step, queue := flags.String("step", "", ""), flags.Bool("queue", false, "")
		flags.Parse(os.Args[2:])
		exitOn(Main(Task{Step: *step, Queue: *queue, Dir: flags.Arg(0)}, func(ctx context.Context, o Options) error {
			return executeRun(ctx, flags.Arg(0), o)
		}))
		os.Exit(0)
	}
	switch os.Getenv(roleEnv) {
	case "starter": // starts a run, prints its folder, and stays
		c, err := presets.Load(os.Args[1], nil)
		exitOn(err)
		dir, err := Start(context.Background(), os.Args[2], c, false)
		exitOn(err)
		fmt.Println(dir)
		select {}
	case "maker": // creates a run, prints its folder, and exits
		c, err := presets.Load("quickstart", shortSets(endless))
		exitOn(err)
		run, err := runs.Create(os.Args[1], "made", c.TOML())
		exitOn(err)
		exitOn(run.Close())
		fmt.Println(run.Dir())
	case "judge": // prints the liveness of a run, and tries to open, stop and kill it
		live, err := runs.ReadLiveness(os.Args[1], time.Now())
		fmt.Println("is:", live, err)
		if run, err := runs.Open(os.Args[1]); err != nil {
			fmt.Println("open:", err)
		} else {
			fmt.Println("open: taken", run.Close())
		}
		fmt.Println("kill:", Kill(context.Background(), os.Args[1]))
		_, err = Stop(context.Background(), os.Args[1])
		fmt.Println("stop:", err)
	case "stranger": // prints what it can do with a run
		if _, err := runs.ReadEvents(os.Args[1]); err == nil {
			fmt.Println("read its events")
		}
		if _, err := runs.ReadStatus(os.Args[1]); err == nil {
			fmt.Println("read its status")
		}
		_, err := Stop(context.Background(), os.Args[1])
		if err == nil {
			fmt.Println("stopped it")
		}
		fmt.Println("stop:", err)
		if err := Kill(context.Background(), os.Args[1]); err == nil {
			fmt.Println("killed it")
		}
	default:
		os.Exit(m.Run())
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// panicEnv makes the process of a run panic at its start.
const panicEnv = "HATCHERY_TEST_PANIC"

func executeRun(ctx context.Context, dir string, o Options) error {
	if os.Getenv(panicEnv) != "" {
		panic("the machine is on fire")
	}
	c, err := presets.Load(filepath.Join(dir, "config.toml"), nil)
	if err != nil {
		return err
	}
	run, err := runs.Open(dir)
	if err != nil {
		return err
	}
	return Execute(ctx, c, run, o)
}

// config returns an experiment whose epochs take milliseconds.
func config(t *testing.T, epochs int) *presets.Config {
	t.Helper()
	c, err := presets.Load("quickstart", shortSets(epochs))
	if err != nil {
		t.Fatal(err)
	}
	if err := pipeline.Check(t.Context(), c, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return c
}

func shortSets(epochs int) []string {
	return []string{
		"data.train=200", "data.eval=50", "model.width=16", "model.heads=2", "model.depth=4", "modules.k=2",
		"e2e.batch=50", "e2e.warmup_epochs=0", "run.equal=epochs", `run.methods=["e2e"]`, "run.threads=1",
		fmt.Sprintf("e2e.epochs=%d", epochs),
	}
}

const endless = 1_000_000 // epochs

// start starts a run that is killed at the end of the test.
func start(t *testing.T, root string, epochs int) (dir string) {
	t.Helper()
	dir, err := Start(t.Context(), root, config(t, epochs), false)
	if dir != "" {
		killLater(t, dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func killLater(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := Kill(context.Background(), dir); err != nil && !errors.Is(err, ErrNotRunning) && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
}

func state(t *testing.T, dir string) *runs.State {
	t.Helper()
	events, err := runs.ReadEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	return runs.Fold(events)
}

// until waits until a condition holds for the state of the run.
func until(t *testing.T, dir, what string, is func(*runs.State) bool) *runs.State {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if s := state(t, dir); is(s) {
			return s
		}
	}
	t.Fatalf("%s: %s has not happened", dir, what)
	return nil
}

// epochs returns the number of epochs that the run has trained.
func epochs(s *runs.State) int {
	if st := s.Stage("e2e"); st != nil {
		return len(st.Points)
	}
	return 0
}

func moreEpochs(t *testing.T, dir string, n int) {
	t.Helper()
	from := epochs(state(t, dir))
	until(t, dir, fmt.Sprintf("%d more epochs", n), func(s *runs.State) bool { return epochs(s) >= from+n })
}

func phase(t *testing.T, dir string) runs.Phase {
	t.Helper()
	s, err := runs.ReadStatus(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s.Phase
}

// free fails the test unless another process could open the run.
func free(t *testing.T, dir string) {
	t.Helper()
	run, err := runs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
}

// dialRun connects to a run without sending a request.
func dialRun(t *testing.T, dir string) net.Conn {
	t.Helper()
	conn, err := dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
