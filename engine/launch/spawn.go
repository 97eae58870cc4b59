package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// Command is the command that [Main] is for.
const Command = "execute"

// The process of a run, or of a study, is made in two steps. The first leads a new session, so
// that no terminal's hang-up reaches it, starts the second and ends. The
// second, which executes it, is then nobody's child: the program that
// started it need not wait for its end, and it can never get a terminal.
const (
	stepFork = "fork"
	stepRun  = "run"
)

// reportFD is the descriptor on which the process says how its start went.
const reportFD = 3

// report is that, as a line of JSON.
type report struct {
	PID   int    `json:"pid"`
	Error string `json:"error,omitempty"`
}

// Task is what such a process is for: the arguments of the command.
type Task struct {
	Step  string // of its making; the program that starts it leaves it to [Detach]
	Queue bool   // a run begins when the machine is free
	Study bool   // Dir is a study's folder, not a run's
	Dir   string
}

func (t Task) arguments(step string) []string {
	args := []string{Command, "--step=" + step}
	if t.Queue {
		args = append(args, "--queue")
	}
	if t.Study {
		args = append(args, "--study")
	}
	return append(args, "--", t.Dir)
}

func (t Task) String() string {
	if t.Study {
		return "study"
	}
	return "run"
}

// Detach starts the process of a task and waits until it is under way, or has
// said why it is not. What the process prints is appended to the file log.
func Detach(ctx context.Context, task Task, logPath string) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("launch: this program cannot be found to start it again: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	defer read.Close()
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o644) // O_NONBLOCK: do not wait for the reader of a pipe
	if err != nil {
		write.Close()
		return fmt.Errorf("launch: %w", err)
	}
	defer log.Close()
	logged, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		write.Close()
		return fmt.Errorf("launch: %w", err)
	}

	cmd := exec.Command(exe, task.arguments(stepFork)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("launch: the %v's process cannot be started: %w", task, err)
	}
	session := cmd.Process.Pid
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("launch: the %v's process could not be started: %w%s", task, err, said(log.Name(), logged))
	}
	// A context that ends makes the process stop; its end closes the pipe.
	stopped := context.AfterFunc(ctx, func() { syscall.Kill(-session, syscall.SIGTERM) })
	line, err := bufio.NewReader(read).ReadBytes('\n')
	var r report
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	switch {
	case !stopped():
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("launch: the %v's process died at its start%s", task, said(log.Name(), logged))
	case r.Error != "":
		return fmt.Errorf("launch: the %v's process could not begin: %s", task, r.Error)
	}
	return nil
}

// said returns the end of what was written to a log beyond a place, to be
// appended to an error.
func said(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const enough = 2000
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		from = max(from, end-enough)
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, from, enough))
	if s := strings.TrimSpace(string(text)); s != "" {
		return ": " + s
	}
	return "; it left nothing in " + path
}

// Main is the command "execute" with its arguments: --step, --queue, --study
// and the folder. execute must open the run and hand it to [Execute] with the
// context, which ends with SIGTERM, and the options that it gets; or execute the
// study and call Options.Started once it holds it.
func Main(task Task, execute func(ctx context.Context, o Options) error) error {
	pipe := os.NewFile(reportFD, "report")
	switch task.Step {
	case stepFork:
		return fork(task, pipe)
	case stepRun:
		syscall.CloseOnExec(reportFD)
		return lead(task, pipe, execute)
	}
	return errors.New("this command is for hatchery itself: it executes a run or a study in the background; use run --detach or resume --detach")
}

// fork is the first step.
func fork(task Task, pipe *os.File) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, task.arguments(stepRun)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{pipe}
	return cmd.Start()
}

// lead is the second step.
func lead(task Task, pipe *os.File, execute func(ctx context.Context, o Options) error) error {
	// A service manager that stops sends SIGHUP after SIGTERM; a terminal none.
	signal.Ignore(syscall.SIGHUP)
	// Further signals while it stops are ignored too: only SIGKILL is harder.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Nobody may be there to read the report: then it need not arrive. The
	// pipe ends with the process, and not before a panic is in the log.
	out := json.NewEncoder(pipe)
	started := false
	err := execute(ctx, Options{Queue: task.Queue, Started: func() {
		started = true
		out.Encode(report{PID: os.Getpid()})
		pipe.Close()
	}})
	if err != nil && !started {
		out.Encode(report{PID: os.Getpid(), Error: err.Error()})
	}
	return err
}
