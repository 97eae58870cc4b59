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

// A stage can be executed by a process of its own, on any machine that sees the
// run folder, while others execute other stages. Such a process holds no lock
// that a broken network could take from it or keep for ever. It takes an
// attempt number instead:
//
//	attempts/<stage>.<n>.jsonl  its events; whoever creates the file has the number
//	         <stage>.<n>.json   its status, as status.json is a run's
//	         <stage>.<n>.log    free text for people
//
// The newest attempt of a stage has it. An older one whose process still lives,
// on a machine that the others took for dead, finds that out before it publishes
// anything: its events are passed over by readers, its checkpoints have names of
// their own, and it cannot mark the stage as done.

// Errors of a stage that has a process of its own.
var (
	// ErrTaken is wrapped when another process executes the stage.
	ErrTaken = errors.New("the stage is being executed by another process")
	// ErrSuperseded is wrapped when a later attempt has taken the stage over,
	// or an earlier one has brought it to its end.
	ErrSuperseded = errors.New("another attempt has the stage")
	// ErrDone is wrapped when the stage was brought to its end before it could
	// be taken.
	ErrDone = errors.New("the stage is done")
)

const attemptsDir = "attempts"

// Claim is who asks for a stage.
type Claim struct {
	// Job is the name of the scheduler's job, which it never executes twice at
	// a time: a later attempt of a job takes over from an earlier one at once.
	// It is empty for a process that somebody started by hand.
	Job string
	// Watch is called before it is watched for a while whether the process of
	// an earlier attempt still lives. It may be nil.
	Watch func(earlier Status)
}

// OpenStage opens a run for writing one stage only, as that stage's next
// attempt. The error wraps ErrTaken if another process executes the stage,
// ErrDone if one has done so, and ErrLocked if one executes the whole run.
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
	r.beat()
	return r, nil
}

func openStage(ctx context.Context, dir, stage string, c Claim, locks locking) (_ *Run, err error) {
	r, err := unopened(dir, locks)
	if err != nil {
		return nil, err
	}
	r.stage, r.status.Stage, r.status.Job = stage, stage, c.Job
	defer func() {
		if err != nil {
			r.release()
		}
	}()
	if err := r.disk.makeDirs(filepath.Join(dir, attemptsDir)); err != nil {
		return nil, r.denied(err)
	}
	// A process that executes the whole run excludes those of single stages,
	// which share the lock.
	if err := r.take(ctx, true); err != nil {
		return nil, err
	}
	if err := r.vacant(ctx, []string{filepath.Join(dir, statusFile)}, c.Watch); err != nil {
		return nil, err
	}
	if r.attempt, err = claim(ctx, dir, stage, c); err != nil {
		return nil, err
	}
	r.osDisk().give(r.eventsPath())
	if r.log, err = r.osDisk().openAppend(r.logPath()); err != nil {
		return nil, err
	}
	// The attempt's own lock tells other processes on this machine, in any
	// container, that the attempt is alive.
	r.status.Unlocked = true
	r.own = locks(r.logPath(), false)
	if locked, err := r.own.TryLock(); err == nil && locked {
		r.status.Unlocked = false
	}
	// Whoever comes next looks for this status.
	r.status.Attempt = r.attempt
	if err := r.writeStatus(); err != nil {
		return nil, err
	}
	r.clearTemps()
	if r.events, err = openJournal(r.eventsPath()); err != nil {
		return nil, err
	}
	return r, r.hold()
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
			if err := gone(ctx, dir, stage, last, c); err != nil {
				return 0, err
			}
		}
		// Not before: whoever was at it may have ended it meanwhile.
		if o, err := ReadOutcome(dir, stage); err != nil {
			return 0, err
		} else if o != nil {
			return 0, ErrDone
		}
		// On a file system of a network too, one of all that try makes it.
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

// gone returns nil if the process of an earlier attempt is not there any more.
func gone(ctx context.Context, dir, stage string, attempt int, c Claim) error {
	const look = 50 * time.Millisecond
	path := attemptPath(dir, stage, attempt, ".json")
	first, firstErr := readStatus(path)
	watching := false
	for end := time.Now().Add(stalledAfter); ; {
		s, err := readStatus(path)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case err != nil: // it has only just taken its number
		case c.Job != "" && s.Job == c.Job:
			return nil
		default:
			e := evidenceNow(time.Now())
			e.folder, e.lock = folderID(dir), flocks.lookAtAttempt(dir, attemptName{stage, attempt}, s)
			l := e.judge(s)
			if l.Alive == IsFinished || l.Alive == IsCrashed {
				return nil
			}
			// Clocks of other machines may be wrong: that a heartbeat comes
			// tells, not when it says that it came.
			if s.Here() || firstErr == nil && !s.Heartbeat.Equal(first.Heartbeat) {
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
		case <-time.After(look):
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
	// Numbers have no gaps.
	if _, err := os.Stat(attemptPath(r.dir, r.stage, r.attempt+1, ".jsonl")); err == nil {
		return fmt.Errorf("%w: attempt %d has taken stage %s over from this one, %d", ErrSuperseded, r.attempt+1, r.stage, r.attempt)
	}
	if !r.finished.Load() {
		if _, err := os.Stat(filepath.Join(stageDir(r.dir, r.stage), doneName)); err == nil {
			return fmt.Errorf("%w: stage %s was brought to its end by an earlier one", ErrSuperseded, r.stage)
		}
	}
	return nil
}

// Attempt is the number of the attempt that has the stage, 0 for a whole run.
func (r *Run) Attempt() int { return r.attempt }

// Job is the scheduler's job that has the stage, "" for none.
func (r *Run) Job() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status.Job
}

// clearTemps removes what earlier attempts have begun to save. If one of them
// is still at it, it fails, as it should.
func (r *Run) clearTemps() {
	for n := range r.attempt {
		for _, what := range []string{tempCheckpoint, tempBest, tempTuning, doneName} {
			r.disk.remove(filepath.Join(stageDir(r.dir, r.stage), tempName(what, n)))
		}
		if n > 0 {
			r.disk.remove(attemptPath(r.dir, r.stage, n, statusTemp))
		}
	}
}

func attemptPath(dir, stage string, n int, ext string) string {
	return filepath.Join(dir, attemptsDir, fmt.Sprintf("%s.%d%s", stage, n, ext))
}

// attemptName is an attempt of a stage.
type attemptName struct {
	stage  string
	number int
}

// attemptList is sorted by stage, and by number within a stage.
type attemptList []attemptName

// listAttempts returns the attempts of all stages of the run in dir.
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

// latest returns the number of a stage's last attempt, 0 if there is none.
func (l attemptList) latest(stage string) int {
	last := 0
	for _, a := range l {
		if a.stage == stage {
			last = a.number
		}
	}
	return last
}

// newest leaves the last attempt of each stage.
func (l attemptList) newest() attemptList {
	var last attemptList
	for i, a := range l {
		if i+1 == len(l) || l[i+1].stage != a.stage {
			last = append(last, a)
		}
	}
	return last
}

// Journals lists the files with the events of the run in dir: that of the run
// as a whole, and those of the newest attempt of each stage that has any.
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

// StageLogPath is where the newest attempt of a stage has its log, "" if the
// stage had no process of its own.
func StageLogPath(dir, stage string) string {
	all, err := listAttempts(dir)
	if n := all.latest(stage); err == nil && n > 0 {
		return attemptPath(dir, stage, n, ".log")
	}
	return ""
}

// LogPaths lists the logs of the run in dir: that of the run as a whole, and
// those of all attempts at single stages.
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

// Fruitless counts the last attempts of a stage, by the given job, that have not
// brought it any further: none of them saved a checkpoint beyond the one that it
// began with.
func Fruitless(dir, stage, job string) (int, error) {
	all, err := listAttempts(dir)
	if err != nil {
		return 0, fmt.Errorf("runs: %w", err)
	}
	count := 0
	for n := all.latest(stage); n > 0; n-- {
		s, err := readStatus(attemptPath(dir, stage, n, ".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // killed before it could say whose it was
		}
		if err != nil {
			return 0, fmt.Errorf("runs: %w", err)
		}
		if s.Job != job || s.Further {
			break
		}
		count++
	}
	return count, nil
}
