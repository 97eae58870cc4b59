// Package runs stores runs on disk: the configuration, the events, the status and the
// checkpoints of the stages. A run can be killed at any moment and resumed, and other
// processes can watch it.
//
//	<root>/<id>/config.toml      resolved configuration
//	            events.jsonl     events, one JSON object per line; append-only
//	            status.json      PID, host and heartbeat of the writer; replaced as a whole
//	            log.txt          text output of the writer
//	            control.sock     socket that controls the writer, while one is running
//	            lock             held by the only process that writes the run; see lock.go
//	            stages/<stage>/checkpoint-<epoch>.safetensors
//	                           best.safetensors
//	                           autotune.json     kernels that a GPU chose by timing
//	                           done              the Outcome of a finished stage
//	            attempts/        attempts at single stages; see OpenStage
//
// Only the owner of a run may write to it; other users may read it as far as the owner's
// umask allows. Files that root writes into a user's run belong to that user.
//
// The writer identifies its folder by device and inode, not by path; see [Run.Lost].
//
// The writer holds a [Run].
//
// Readers need only the folder: [ReadEvents], [Follow] and [Fold] read the events,
// [ReadLiveness] reports whether the run is being executed, and [LoadLatest], [LoadBest]
// and [LoadFinal] load the weights.
package runs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	configFile = "config.toml"
	eventsFile = "events.jsonl"
	statusFile = "status.json"
	logFile    = "log.txt"
	lockFile   = "lock"
	stagesDir  = "stages"

	// StudiesDir is the name of the folder, next to the runs, that holds studies
	// (package study).
	StudiesDir = "studies"
)

// ErrLocked is wrapped by the error of Open if another process writes the run.
var ErrLocked = errors.New("the run is being written by another process")

// Run is a run folder that is open for writing: the whole run or, from OpenStage, one of
// its stages. Several goroutines may call its methods, but checkpoints of one stage must
// be saved one at a time.
type Run struct {
	dir    string
	folder *folder
	lock   locker
	ids    fileIDs
	events *journal
	log    *os.File
	disk   disk

	lost      chan struct{}         // closed when this process must stop writing
	loss      atomic.Pointer[loss]  // the reason, nil while there is none
	lastSaved atomic.Pointer[Event] // the last checkpoint

	// These are set if the run is open for one stage only.
	stage       string
	attempt     int
	attemptLock locker      // the attempt's own lock
	finished    atomic.Bool // this attempt marks the stage as done
	resumedFrom position    // of the checkpoint from which it went on

	scoring sync.Mutex         // guards best
	best    map[string]float64 // by stage: the score of its best checkpoint, once this process has verified or made it

	emitting sync.Mutex // guards observer and the order in which it sees events
	observer func(Event)

	mu     sync.Mutex // guards status
	status Status

	stop      chan struct{} // ends the heartbeat
	heartbeat sync.WaitGroup
	closing   sync.Once
	closeErr  error
}

// Create creates the folder of a new run under root and opens it. It creates root if
// necessary. The folder appears complete or not at all. If a run with that id exists, the
// error wraps fs.ErrExist.
func Create(root, id string, config []byte) (*Run, error) {
	if err := checkName("run id", id); err != nil {
		return nil, err
	}
	_, err := os.Stat(root)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(root, dirMode); err != nil {
		return nil, fmt.Errorf("runs: cannot create the folder for runs: %w", err)
	}
	r, err := create(root, id, config, flocks)
	if err != nil && fresh {
		os.Remove(root) // fails, as it should, if it is not empty
	}
	return r, err
}

// CreateIn is like Create, but fails if root does not exist, for example because it was
// moved or deleted.
func CreateIn(root, id string, config []byte) (*Run, error) {
	if err := checkName("run id", id); err != nil {
		return nil, err
	}
	return create(root, id, config, flocks)
}

func create(root, id string, config []byte, locks locking) (_ *Run, err error) {
	dir := filepath.Join(root, id)
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("runs: %s: %w", dir, fs.ErrExist)
	}
	locks.collect(root, time.Now())
	// Folders whose names begin with a dot are not runs; see Folders.
	staging, err := makeStaging(root, id)
	if err != nil {
		return nil, fmt.Errorf("runs: cannot create a run in %s: %w", root, err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(staging)
		}
	}()
	for name, data := range map[string][]byte{configFile: config, eventsFile: nil} {
		if err := writeSynced(osDisk{}, filepath.Join(staging, name), data); err != nil {
			return nil, fmt.Errorf("runs: cannot create a run in %s: %w", root, err)
		}
	}
	r, err := open(context.Background(), staging, nil, locks)
	if err != nil {
		return nil, err
	}
	// When others first see the run, it is locked and has a status. A rename can
	// replace only an empty folder.
	err = syncDir(staging)
	if err == nil {
		err = os.Rename(staging, dir)
	}
	if err != nil {
		_ = r.release() // err says more
		return nil, fmt.Errorf("runs: %w", err)
	}
	r.dir = dir
	r.folder.dir.Store(&r.dir)
	if err := syncDir(root); err != nil {
		_ = r.release() // err says more
		os.RemoveAll(dir)
		return nil, fmt.Errorf("runs: %w", err)
	}
	r.startHeartbeat()
	return r, nil
}

// Open opens an existing run for writing, to resume it. It fails if dir is not a run. If
// another process writes the run, the error wraps ErrLocked and names that process. If
// Open cannot tell whether the earlier process is alive, it takes 15 seconds; see
// OpenContext.
func Open(dir string) (*Run, error) { return OpenContext(context.Background(), dir, nil) }

// OpenContext is Open with a context. If it cannot tell whether the earlier process is
// alive, it calls watch, which may be nil, and then waits 15 seconds for a heartbeat of
// that process.
func OpenContext(ctx context.Context, dir string, watch func(earlier Status)) (*Run, error) {
	for _, name := range []string{configFile, eventsFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && !info.Mode().IsRegular() {
			err = irregular(filepath.Join(dir, name), info.Mode())
		}
		if err != nil {
			return nil, fmt.Errorf("runs: %s is not a run folder: %w", dir, err)
		}
	}
	r, err := open(ctx, dir, watch, flocks)
	if err != nil {
		return nil, err
	}
	r.startHeartbeat()
	return r, nil
}

// open locks the folder, opens its files and writes a first status.
func open(ctx context.Context, dir string, watch func(Status), locks locking) (_ *Run, err error) {
	r, err := openRun(dir, locks)
	if err != nil {
		return nil, fmt.Errorf("runs: cannot open %s for writing: %w", dir, err)
	}
	defer func() {
		if err != nil {
			_ = r.release() // err says more
			err = fmt.Errorf("runs: cannot open %s for writing: %w", dir, err)
		}
	}()
	if err := r.lockFolder(ctx, false); err != nil {
		return nil, err
	}
	before := []string{r.statusPath()}
	all, err := listAttempts(dir)
	if err != nil {
		return nil, err
	}
	for _, a := range all.newest() {
		before = append(before, attemptPath(dir, a.stage, a.number, ".json"))
	}
	if err := r.waitVacant(ctx, before, watch); err != nil {
		return nil, err
	}
	if err := r.osDisk().overwrite(filepath.Join(dir, lockFile), []byte(r.status.describeWriter()+"\n")); err != nil && !isFull(err) {
		return nil, r.explainDenied(err)
	}
	if r.events, err = openJournal(r.eventsPath()); err != nil {
		return nil, r.explainDenied(err)
	}
	if r.log, err = r.osDisk().openAppend(r.logPath()); err != nil {
		return nil, r.explainDenied(err)
	}
	if err := r.writeStatus(); err != nil {
		return nil, r.explainDenied(err)
	}
	if err := r.checkRival(ctx); err != nil {
		return nil, err
	}
	r.clearFolder()
	return r, r.recordIDs()
}

// openRun returns a run with only its folder open.
func openRun(dir string, locks locking) (*Run, error) {
	folder, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	now := time.Now().UTC()
	return &Run{
		dir:    dir,
		folder: folder,
		disk:   osDisk{folder},
		lock:   locks(filepath.Join(dir, lockFile), true),
		lost:   make(chan struct{}),
		stop:   make(chan struct{}),
		best:   map[string]float64{},
		status: Status{
			Phase: Running, PID: os.Getpid(), Process: thisProcess(), Host: host, Started: now, Heartbeat: now, Folder: folder.id,
		},
	}, nil
}

func (r *Run) osDisk() osDisk { return osDisk{r.folder} }

// statusTemp is the suffix of a status file's name while the file is being written.
const statusTemp = ".json.tmp"

func (r *Run) statusTempPath() string {
	if r.stage != "" {
		return attemptPath(r.dir, r.stage, r.attempt, statusTemp)
	}
	if r.status.Unlocked { // another process may be writing a status at the same time
		return filepath.Join(r.dir, fmt.Sprintf("status.%d.%d%s", r.status.PID, r.status.Started.UnixNano(), statusTemp))
	}
	return filepath.Join(r.dir, "status"+statusTemp)
}

// writeStatus writes the status with a new heartbeat.
func (r *Run) writeStatus() error {
	r.status.Heartbeat = time.Now().UTC()
	return writeStatus(r.osDisk(), r.statusPath(), r.statusTempPath(), r.status)
}

func (r *Run) logPath() string {
	if r.stage != "" {
		return attemptPath(r.dir, r.stage, r.attempt, ".log")
	}
	return LogPath(r.dir)
}

func (r *Run) statusPath() string {
	if r.stage != "" {
		return attemptPath(r.dir, r.stage, r.attempt, ".json")
	}
	return filepath.Join(r.dir, statusFile)
}

func (r *Run) eventsPath() string {
	if r.stage != "" {
		return attemptPath(r.dir, r.stage, r.attempt, ".jsonl")
	}
	return filepath.Join(r.dir, eventsFile)
}

// release closes all files and locks of the run.
func (r *Run) release() error {
	var errs []error
	if r.events != nil {
		errs = append(errs, r.events.close())
	}
	if r.log != nil {
		errs = append(errs, r.log.Close())
	}
	if r.attemptLock != nil {
		errs = append(errs, r.attemptLock.Close())
	}
	return errors.Join(append(errs, r.lock.Close(), r.folder.close())...)
}

// startHeartbeat starts the heartbeat. Close stops it.
func (r *Run) startHeartbeat() {
	r.heartbeat.Go(func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-tick.C:
				if err := r.superseded(); errors.Is(err, ErrSuperseded) {
					r.lose(&loss{cause: err, exclusive: true})
				}
				if r.loss.Load() != nil {
					return
				}
				// An error needs no report: readers will notice the missing
				// heartbeat.
				_ = r.setStatus(func(*Status) {})
			}
		}
	})
}

func (r *Run) setStatus(change func(*Status)) error {
	err := r.changeStatus(change)
	if err == nil {
		return nil
	}
	// A later attempt removes the temporary files of this one (see clearTemps).
	if taken := r.superseded(); errors.Is(taken, ErrSuperseded) {
		err = taken
	}
	return fmt.Errorf("runs: %w", err)
}

func (r *Run) changeStatus(change func(*Status)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.status)
	if l := r.loss.Load(); l != nil && !l.exclusive {
		return nil // the folder is lost, so nobody would read the status; LostCause reports the reason
	}
	return r.writeStatus()
}

// SetStage writes the current stage and a message to the status.
func (r *Run) SetStage(stage, message string) error {
	return r.setStatus(func(s *Status) { s.Stage, s.Message = stage, message })
}

// SetPhase writes the phase to the status: Running, Paused or Queued.
func (r *Run) SetPhase(phase Phase) error {
	return r.setStatus(func(s *Status) { s.Phase = phase })
}

// Finish writes the final phase to the status: Finished, Failed or Stopped, or Waiting if
// another process is to execute the run. If Finish is not called, Close writes Stopped.
func (r *Run) Finish(phase Phase, message string) error {
	return r.setStatus(func(s *Status) { s.Phase, s.Message = phase, message })
}

// Close stops the heartbeat, writes the last status, and releases the lock. Later calls
// return the same error as the first.
func (r *Run) Close() error {
	r.closing.Do(func() {
		close(r.stop)
		r.heartbeat.Wait()
		err := r.setStatus(func(s *Status) {
			if s.Phase.alive() {
				s.Phase = Stopped
			}
		})
		r.closeErr = errors.Join(err, r.release())
	})
	return r.closeErr
}

// Dir returns the run's folder.
func (r *Run) Dir() string { return r.dir }

// ID returns the run's id, which is the name of its folder.
func (r *Run) ID() string { return filepath.Base(r.dir) }

// LogPath returns the path of log.txt of the run in dir.
func LogPath(dir string) string { return filepath.Join(dir, logFile) }

// Log returns a writer that appends to the log of the run, or of the attempt.
func (r *Run) Log() io.Writer { return r.log }

// Emit appends an event. It sets the event's time if that is zero and, if the run is open
// for one stage, its stage and attempt. After an error, readers see no part of the event.
func (r *Run) Emit(e Event) error {
	if r.stage != "" {
		e.Stage, e.Attempt = r.stage, r.attempt
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC().Truncate(time.Millisecond)
	}
	r.emitting.Lock()
	defer r.emitting.Unlock()
	if err := r.events.append(e); err != nil {
		return fmt.Errorf("runs: %s: %w", r.eventsPath(), err)
	}
	if e.Kind == Saved {
		r.lastSaved.Store(&e)
	}
	if r.observer != nil {
		r.observer(e)
	}
	return nil
}

// Observe makes Emit call f with every later event, in order, after writing it and before
// returning. f must not block.
func (r *Run) Observe(f func(Event)) {
	r.emitting.Lock()
	defer r.emitting.Unlock()
	r.observer = f
}

// ReadConfig returns the content of config.toml of the run in dir.
func ReadConfig(dir string) ([]byte, error) {
	data, err := readSmall(filepath.Join(dir, configFile))
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	return data, nil
}
