package runs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A stage can have its own process, on any machine that sees the run folder, while other
// processes execute other stages. Ownership of the stage does not depend on a lock, which
// a network failure could release or never release. The process takes an attempt number
// instead:
//
//	attempts/<stage>.<n>.jsonl  its events; the process that creates the file gets the number
//	         <stage>.<n>.json   its status, like status.json of a run
//	         <stage>.<n>.log    its text output
//
// The newest attempt owns the stage. The process of an older attempt may still be alive,
// on a machine that seemed dead. It notices the newer attempt before it publishes
// anything. Until then it does no harm: readers skip its events, its checkpoints have
// their own names, and it cannot mark the stage as done.

// Errors of OpenStage, and of a run that is open for one stage.
var (
	// ErrTaken is wrapped when another process executes the stage.
	ErrTaken = errors.New("the stage is being executed by another process")
	// ErrSuperseded is wrapped when a later attempt has taken over the stage, or an
	// earlier one has finished it.
	ErrSuperseded = errors.New("another attempt has the stage")
	// ErrDone is wrapped when the stage has been finished already.
	ErrDone = errors.New("the stage is done")
)

const attemptsDir = "attempts"

// Claim describes a process that wants to execute a stage.
type Claim struct {
	// Job is the name of the scheduler's job, "" for a process that was started by
	// hand. A scheduler never executes a job twice at a time, so a later attempt of
	// the same job takes over the stage at once.
	Job string
	// Watch, which may be nil, is called before OpenStage waits to see whether the
	// process of an earlier attempt is alive.
	Watch func(earlier Status)
}

// OpenStage opens a run for writing one stage only, as that stage's next attempt. The
// error wraps ErrTaken if another process executes the stage, ErrDone if the stage is
// done, and ErrLocked if another process executes the whole run.
func OpenStage(ctx context.Context, dir, stage string, c Claim) (*Run, error) {
	if err := checkName("stage", stage); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, configFile)); err != nil {
		return nil, fmt.Errorf("runs: %s is not a run folder: %w", dir, err)
	}
	r, err := openStage(ctx, dir, stage, c, flocks)
	if err != nil {
		return nil, fmt.Errorf("runs: stage %s of %s: %w", stage, dir, err)
	}
	r.startHeartbeat()
	return r, nil
}

func openStage(ctx context.Context, dir, stage string, c Claim, locks locking) (_ *Run, err error) {
	r, err := openRun(dir, locks)
	if err != nil {
		return nil, err
	}
	r.stage, r.status.Stage, r.status.Job = stage, stage, c.Job
	defer func() {
		if err != nil {
			_ = r.release() // err says more
		}
	}()
	if err := r.disk.makeDirs(filepath.Join(dir, attemptsDir)); err != nil {
		return nil, r.explainDenied(err)
	}
	// Processes of single stages share the lock. A process that executes the whole
	// run holds it exclusively.
	if err := r.lockFolder(ctx, true); err != nil {
		return nil, err
	}
	if err := r.waitVacant(ctx, []string{filepath.Join(dir, statusFile)}, c.Watch); err != nil {
		return nil, err
	}
	if r.attempt, err = claim(ctx, dir, stage, c); err != nil {
		return nil, err
	}
	r.osDisk().chown(r.eventsPath())
	if r.log, err = r.osDisk().openAppend(r.logPath()); err != nil {
		return nil, err
	}
	// The attempt's own lock tells other processes on this machine, in any
	// container, that the attempt is alive.
	r.status.Unlocked = true
	r.attemptLock = locks(r.logPath(), false)
	if locked, err := r.attemptLock.TryLock(); err == nil && locked {
		r.status.Unlocked = false
	}
	// The next process that claims the stage reads this status.
	r.status.Attempt = r.attempt
	if err := r.writeStatus(); err != nil {
		return nil, err
	}
	r.clearTemps()
	if r.events, err = openJournal(r.eventsPath()); err != nil {
		return nil, err
	}
	return r, r.recordIDs()
}

// claim takes the next attempt number of a stage.
func claim(ctx context.Context, dir, stage string, c Claim) (int, error) {
	for {
		all, err := listAttempts(dir)
		if err != nil {
			return 0, err
		}
		last := all.latest(stage)
		if last > 0 {
			if err := waitGone(ctx, dir, stage, last, c); err != nil {
				return 0, err
			}
		}
		// This must come after waitGone, because the earlier process may have
		// finished the stage in the meantime.
		if o, err := ReadOutcome(dir, stage); err != nil {
			return 0, err
		} else if o != nil {
			return 0, ErrDone
		}
		// Exactly one process creates the file, on network file systems too.
		f, err := os.OpenFile(attemptPath(dir, stage, last+1, ".jsonl"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return last + 1, f.Close()
	}
}

// waitGone returns nil once the process of an earlier attempt is gone, or has written no
// heartbeat for stalledAfter. It returns an error that wraps ErrTaken if that process is
// alive.
func waitGone(ctx context.Context, dir, stage string, attempt int, c Claim) error {
	const interval = 50 * time.Millisecond
	path := attemptPath(dir, stage, attempt, ".json")
	first, firstErr := readStatus(path)
	watching := false
	for end := time.Now().Add(stalledAfter); ; {
		s, err := readStatus(path)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case err != nil: // it has just taken its number and has no status yet
		case c.Job != "" && s.Job == c.Job:
			return nil
		default:
			e := gatherEvidence(time.Now())
			e.folder, e.lock = folderID(dir), flocks.inspectAttempt(dir, attemptName{stage, attempt}, s)
			l := e.judge(s)
			if l.Alive == IsFinished || l.Alive == IsCrashed {
				return nil
			}
			// Any change of the heartbeat counts, not its time, because clocks of
			// other machines may be wrong.
			if s.Local() || firstErr == nil && !s.Heartbeat.Equal(first.Heartbeat) {
				return fmt.Errorf("%w: attempt %d, process %d on %s", ErrTaken, attempt, s.PID, s.Host)
			}
			if firstErr != nil {
				first, firstErr = s, nil
			}
			if !watching && c.Watch != nil {
				c.Watch(s)
			}
			watching = true
		}
		if time.Now().After(end) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
	}
}

// superseded returns an error if this process must not publish anything. It wraps
// ErrSuperseded if another attempt has taken over or finished the stage, and
// ErrFolderLost if the run has lost its folder.
func (r *Run) superseded() error {
	if err := r.writable(); err != nil {
		return err
	}
	if r.stage == "" {
		return nil
	}
	// Attempt numbers have no gaps.
	if _, err := os.Stat(attemptPath(r.dir, r.stage, r.attempt+1, ".jsonl")); err == nil {
		return fmt.Errorf("%w: attempt %d has taken over stage %s from this one, attempt %d", ErrSuperseded, r.attempt+1, r.stage, r.attempt)
	}
	if !r.finished.Load() {
		if _, err := os.Stat(filepath.Join(stageDir(r.dir, r.stage), doneName)); err == nil {
			return fmt.Errorf("%w: an earlier attempt has finished stage %s", ErrSuperseded, r.stage)
		}
	}
	return nil
}

// Attempt returns the number of this attempt at the stage, 0 for a whole run.
func (r *Run) Attempt() int { return r.attempt }

// Job returns the scheduler's job that executes the stage, "" if there is none.
func (r *Run) Job() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status.Job
}

// clearTemps removes files that earlier attempts have begun to write. If one of these
// attempts is still writing, its write fails, as it should.
func (r *Run) clearTemps() {
	for n := range r.attempt {
		for _, base := range []string{tempCheckpoint, tempBest, tempTuning, doneName} {
			r.disk.remove(filepath.Join(stageDir(r.dir, r.stage), tempName(base, n)))
		}
		if n > 0 {
			r.disk.remove(attemptPath(r.dir, r.stage, n, statusTemp))
		}
	}
}

func attemptPath(dir, stage string, n int, ext string) string {
	return filepath.Join(dir, attemptsDir, fmt.Sprintf("%s.%d%s", stage, n, ext))
}

// attemptName identifies an attempt at a stage.
type attemptName struct {
	stage  string
	number int
}

// attemptList is sorted by stage, and by number within a stage.
type attemptList []attemptName

// listAttempts returns the attempts at all stages of the run in dir.
func listAttempts(dir string) (attemptList, error) {
	entries, err := os.ReadDir(filepath.Join(dir, attemptsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all attemptList
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".jsonl")
		if !ok {
			continue
		}
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			continue
		}
		if n, err := strconv.Atoi(name[i+1:]); err == nil && n > 0 && name[i+1:] == strconv.Itoa(n) {
			all = append(all, attemptName{name[:i], n})
		}
	}
	slices.SortFunc(all, func(a, b attemptName) int {
		return cmp.Or(cmp.Compare(a.stage, b.stage), cmp.Compare(a.number, b.number))
	})
	return all, nil
}

// latest returns the number of the last attempt at a stage, 0 if there is none.
func (l attemptList) latest(stage string) int {
	last := 0
	for _, a := range l {
		if a.stage == stage {
			last = a.number
		}
	}
	return last
}

// newest returns the last attempt at each stage.
func (l attemptList) newest() attemptList {
	var last attemptList
	for i, a := range l {
		if i+1 == len(l) || l[i+1].stage != a.stage {
			last = append(last, a)
		}
	}
	return last
}

// Journals lists the files that hold the events of the run in dir: that of the whole run,
// and that of the newest attempt at each stage.
func Journals(dir string) ([]string, error) {
	all, err := listAttempts(dir)
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	paths := []string{filepath.Join(dir, eventsFile)}
	for _, a := range all.newest() {
		paths = append(paths, attemptPath(dir, a.stage, a.number, ".jsonl"))
	}
	return paths, nil
}

// StageLogPath returns the path of the log of the newest attempt at a stage, "" if the
// stage has no attempts.
func StageLogPath(dir, stage string) string {
	all, err := listAttempts(dir)
	if n := all.latest(stage); err == nil && n > 0 {
		return attemptPath(dir, stage, n, ".log")
	}
	return ""
}

// LogPaths lists the logs of the run in dir: that of the whole run, and those of all
// attempts at single stages.
func LogPaths(dir string) ([]string, error) {
	all, err := listAttempts(dir)
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	paths := []string{LogPath(dir)}
	for _, a := range all {
		paths = append(paths, attemptPath(dir, a.stage, a.number, ".log"))
	}
	return paths, nil
}

// FruitlessAttempts returns how many attempts of the given job at a stage have made no
// progress, counted back from the last one. An attempt has made progress if it saved a
// checkpoint later than the one that it started from.
func FruitlessAttempts(dir, stage, job string) (int, error) {
	all, err := listAttempts(dir)
	if err != nil {
		return 0, fmt.Errorf("runs: %w", err)
	}
	count := 0
	for n := all.latest(stage); n > 0; n-- {
		s, err := readStatus(attemptPath(dir, stage, n, ".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // killed before it wrote a status
		}
		if err != nil {
			return 0, fmt.Errorf("runs: %w", err)
		}
		if s.Job != job || s.Advanced {
			break
		}
		count++
	}
	return count, nil
}
