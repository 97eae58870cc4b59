package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Command is a command of the program. Its fields are its arguments and flags, with tags
// for kong.
type Command interface {
	// Run executes the command. It returns soon after ctx is done, if the effect of the
	// command allows that.
	Run(ctx context.Context, app *App) error

	// Effect returns the effect of the command, which may depend on its flags.
	Effect() Effect
}

// Effect classifies commands. It decides how a command reacts to signals.
type Effect int

const (
	// Reads is the effect of a command that shows something and changes nothing. It
	// ends at the first signal.
	Reads Effect = iota
	// Acts is the effect of a command that changes something, or waits for another
	// process to do so. At the first signal it completes only what must not be left half
	// done. The second signal ends it at once.
	Acts
	// Trains is the effect of a command that executes stages in this process. At the
	// first signal it saves a checkpoint. The second signal ends it at once.
	Trains
	// TrainsAsJob is like Trains, but nothing ends the command at once: Slurm sends a
	// job several signals, and kills it when its time is up.
	TrainsAsJob
	// TrainsDetached is the effect of the process of a detached run or study, which
	// handles signals and reports errors itself.
	TrainsDetached
)

func (e Effect) trains() bool { return e == Trains || e == TrainsAsJob || e == TrainsDetached }

// Do runs a command and returns the exit code of the program. At the first Ctrl-C,
// SIGTERM or loss of the terminal it cancels the context of the command, with a
// [Signalled] as the cause.
func (a *App) Do(cmd Command) (code int) {
	e := cmd.Effect()
	if e.trains() {
		defer a.decoupleOutput()()
	}
	if e == TrainsDetached {
		return ExitCode(cmd.Run(context.Background(), a))
	}
	ctx, stop := interruptible(e, a.Err)
	defer stop()
	err := cmd.Run(ctx, a)
	switch s := (Signalled{}); {
	case err == nil:
		return ExitDone
	case !errors.Is(err, context.Canceled):
		fmt.Fprintln(a.Err, "hatchery:", err)
	case !e.trains() && errors.As(context.Cause(ctx), &s):
		return s.ExitCode()
	}
	return ExitCode(err)
}

// Signalled is the cause of a context that a signal has cancelled.
type Signalled struct{ Signal os.Signal }

func (s Signalled) Error() string { return s.Signal.String() }

// Is makes errors.Is treat the cause like context.Canceled.
func (s Signalled) Is(target error) bool { return target == context.Canceled }

// ExitCode returns the exit code of a command that a signal ends, if it does not
// train: 128 plus the signal's number, as in shells, which is 130 for Ctrl-C.
func (s Signalled) ExitCode() int {
	if n, ok := s.Signal.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return ExitFailed
}

// exitGrace is the time that a command that changes nothing has to end by itself after a
// signal. Commands do so unless a system call or a library blocks: a read from a network
// file system whose server is down cannot be cancelled, nor can the loading of a GPU
// driver. The time is too short for a user to notice.
const exitGrace = 100 * time.Millisecond

// interruptible returns a context that the first Ctrl-C, SIGTERM or loss of the terminal
// cancels, and handles later signals as [Effect] says.
func interruptible(e Effect, errs io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if e.trains() {
		signal.Notify(signals, syscall.SIGUSR1) // Slurm sends it when the time of a job is nearly up
	}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		for s := range signals {
			cause := Signalled{s}
			if ctx.Err() != nil {
				switch e {
				case TrainsAsJob:
					continue
				case Trains:
					os.Exit(ExitInterrupted)
				}
				os.Exit(cause.ExitCode())
			}
			cancel(cause)
			switch e {
			case Reads:
				time.AfterFunc(exitGrace, func() { os.Exit(cause.ExitCode()) })
			case Trains:
				fmt.Fprintln(errs, "\nstopping after this step; another Ctrl-C exits at once, without a checkpoint")
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}
