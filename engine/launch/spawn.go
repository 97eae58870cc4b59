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

// Command is the command that [Main] implements.
const Command = "execute"

// The background process of a run or a study is started in two steps. The first process leads
// a new session, so that no hang-up of a terminal reaches it, starts the second process and
// exits. The second process executes the run. It is an orphan: the program that started it
// need not wait for it, and it can never get a controlling terminal.
const (
	stepFork = "fork"
	stepRun  = "run"
)

// reportFD is the file descriptor to which the process writes its report.
const reportFD = 3

// report tells whether the process has started, as a line of JSON.
type report struct {
	PID   int    `json:"pid"`
	Error string `json:"error,omitempty"`
}

// Task describes what a background process executes. It holds the arguments of the command.
type Task struct {
	Step  string // which of the two steps; set by [Detach]
	Queue bool   // the run waits in the queue of this machine
	Study bool   // Dir is the folder of a study, not of a run
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

// Detach starts the process of a task and waits until it has started, or returns its error.
// The output of the process is appended to the file at logPath.
func Detach(ctx context.Context, task Task, logPath string) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("launch: cannot find the executable of this program: %w", err)
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

	cmd := exec.Command(exe, task.arguments(stepFork)...) //nolint:noctx // it outlives ctx
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("launch: cannot start the process of the %v: %w", task, err)
	}
	session := cmd.Process.Pid
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("launch: could not start the process of the %v: %w%s", task, err, logTail(log.Name(), logged))
	}
	// When ctx is done, the process is stopped, which closes the pipe.
	stopped := context.AfterFunc(ctx, func() { _ = syscall.Kill(-session, syscall.SIGTERM) })
	line, err := bufio.NewReader(read).ReadBytes('\n')
	var r report
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	switch {
	case !stopped():
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("launch: the process of the %v died at its start%s", task, logTail(log.Name(), logged))
	case r.Error != "":
		return fmt.Errorf("launch: the process of the %v could not start: %s", task, r.Error)
	}
	return nil
}

// logTail returns the last part of a log after an offset, as a suffix for an error message.
func logTail(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const maxLen = 2000
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		from = max(from, end-maxLen)
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, from, maxLen))
	if s := strings.TrimSpace(string(text)); s != "" {
		return ": " + s
	}
	return "; it wrote nothing to " + path
}

// Main implements the command "execute" with the arguments --step, --queue, --study and the
// folder. For a run, execute must open the run and call [Execute] with its context, which is
// cancelled by SIGTERM, and its options. For a study, it must execute the study and call
// Options.Started once the study is locked.
func Main(task Task, execute func(ctx context.Context, o Options) error) error {
	pipe := os.NewFile(reportFD, "report")
	switch task.Step {
	case stepFork:
		return fork(task, pipe)
	case stepRun:
		syscall.CloseOnExec(reportFD)
		return executeDetached(task, pipe, execute)
	}
	return errors.New("hatchery uses this command internally, to execute a run or a study in the background; use run --detach or resume --detach")
}

// fork executes the first step.
func fork(task Task, pipe *os.File) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, task.arguments(stepRun)...) //nolint:noctx // it outlives this process
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{pipe}
	return cmd.Start()
}

// executeDetached executes the second step.
func executeDetached(task Task, pipe *os.File, execute func(ctx context.Context, o Options) error) error {
	// A service manager may send SIGHUP after SIGTERM.
	signal.Ignore(syscall.SIGHUP)
	// Further signals have no effect while the run stops; only SIGKILL ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Errors of writing the report do not matter: there may be no reader. On failure,
	// the pipe is closed only by the end of the process, after a panic has been written
	// to the log.
	out := json.NewEncoder(pipe)
	started := false
	err := execute(ctx, Options{Queue: task.Queue, Started: func() {
		started = true
		_ = out.Encode(report{PID: os.Getpid()})
		pipe.Close()
	}})
	if err != nil && !started {
		_ = out.Encode(report{PID: os.Getpid(), Error: err.Error()})
	}
	return err
}
