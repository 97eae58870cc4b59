// Package runs keeps a run on disk: its configuration, its events, its status and
// the checkpoints of its stages, so that a run outlives its viewer and can be
// killed at any moment and resumed.
//
//	<root>/<id>/config.toml      resolved configuration
//	            events.jsonl     what happened, one JSON object a line; append-only
//	            status.json      pid, host and heartbeat of the writer; replaced as a whole
//	            log.txt          free text for people
//	            control.sock     through which the writer is controlled, while there is one
//	            lock             held by the one process that writes the run; see lock.go
//	            stages/<stage>/checkpoint-<epoch>.safetensors
//	                           best.safetensors
//	                           autotune.json     what a GPU chose by timing
//	                           done
//	            attempts/        of single stages: see OpenStage
//
// Only the owner of a run may write to it; others may read what the owner's umask
// lets them. Files that root writes into a user's run belong to that user.
//
// The writer identifies its folder by device and inode, not by path: see [Run.Lost].
//
// The writer holds a [Run].
//
// Readers need only the folder: [ReadEvents], [Follow] and [Fold] for what
// happened, [ReadLiveness] for whether it still does, [LoadLatest],
// [LoadBest] and [LoadFinal] for the weights.
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

	// StudiesDir is the folder beside the runs that holds studies (package study).
	StudiesDir = "studies"
)

// ErrLocked is wrapped by Open's error when another process writes the run.
var ErrLocked = errors.New("the run is being written by another process")

// Run is a run folder open for writing, as a whole or, from OpenStage, for one of
// its stages. Its methods may be called from several goroutines, but checkpoints of
// one stage must be saved one after another.
type Run struct {
	dir    string
	folder *folder
	lock   locker
	held   holding
	events *journal
	log    *os.File
	disk   disk

	lost  chan struct{}         // closed when this process must stop writing
	loss  atomic.Pointer[loss]  // the reason, nil while there is none
	saved atomic.Pointer[Event] // the last checkpoint

	// Of one stage; zero for a whole run.
	stage    string
	attempt  int
	own      locker      // the attempt's own lock
	finished atomic.Bool // this attempt marks the stage as done
	began    position    // of the checkpoint from which it went on

	scoring sync.Mutex         // guards best
	best    map[string]float64 // by stage: the score of its best checkpoint, once this process has verified or made it

	emitting sync.Mutex // guards observer and the order in which it sees events
	observer func(Event)

	mu     sync.Mutex // guards status
	status Status

	stop     chan struct{} // ends the heartbeat
	stopped  sync.WaitGroup
	closing  sync.Once
	closeErr error
}

// Create makes the folder of a new run under root, which is made too if need
// be, and opens it. The folder appears complete or not at all. It fails if
// there is a run of that id, wrapping fs.ErrExist.
func Create(root, id string, config []byte) (*Run, error) {
	if err := checkName("run id", id); err != nil {
		return nil, err
	}
	_, err := os.Stat(root)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(root, dirMode); err != nil {
		return nil, fmt.Errorf("runs: the folder for runs cannot be made: %w", err)
	}
	r, err := create(root, id, config, flocks)
	if err != nil && fresh {
		os.Remove(root) // fails, as it should, if it is not empty
	}
	return r, err
}

// CreateIn is Create under a root that must be there: one that was moved or
// deleted is not made anew.
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
	// Names that begin with a dot are not runs: see List.
	building, err := makeBuilding(root, id)
	if err != nil {
		return nil, fmt.Errorf("runs: a run cannot be made in %s: %w", root, err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(building)
		}
	}()
	for name, data := range map[string][]byte{configFile: config, eventsFile: nil} {
		if err := writeSynced(osDisk{}, filepath.Join(building, name), data); err != nil {
			return nil, fmt.Errorf("runs: a run cannot be made in %s: %w", root, err)
		}
	}
	r, err := open(context.Background(), building, nil, locks)
	if err != nil {
		return nil, err
	}
	// The run is locked and has a status when others first see it. A rename
	// replaces nothing but an empty folder.
	err = syncDir(building)
	if err == nil {
		err = os.Rename(building, dir)
	}
	if err != nil {
		r.release()
		return nil, fmt.Errorf("runs: %w", err)
	}
	r.dir = dir
	r.folder.at.Store(&r.dir)
	if err := syncDir(root); err != nil {
		r.release()
		os.RemoveAll(dir)
		return nil, fmt.Errorf("runs: %w", err)
	}
	r.beat()
	return r, nil
}

// Open opens an existing run for writing, to resume it. It fails if dir is not
// a run, and wraps ErrLocked, with the holder, if another process writes it. If it
// cannot see whether the earlier process is alive, it takes 15 seconds: see
// OpenContext.
func Open(dir string) (*Run, error) { return OpenContext(context.Background(), dir, nil) }

// OpenContext is Open with a context. If it cannot see whether the earlier process
// is alive, it calls watch, which may be nil, and then waits 15 seconds for a
// heartbeat of that process.
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
	r.beat()
	return r, nil
}

// open locks the folder, opens its files and writes a first status.
func open(ctx context.Context, dir string, watch func(Status), locks locking) (_ *Run, err error) {
	r, err := unopened(dir, locks)
	if err != nil {
		return nil, fmt.Errorf("runs: %s cannot be opened for writing: %w", dir, err)
	}
	defer func() {
		if err != nil {
			r.release()
			err = fmt.Errorf("runs: %s cannot be opened for writing: %w", dir, err)
		}
	}()
	if err := r.take(ctx, false); err != nil {
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
	if err := r.vacant(ctx, before, watch); err != nil {
		return nil, err
	}
	if err := r.osDisk().overwrite(filepath.Join(dir, lockFile), []byte(r.status.writer()+"\n")); err != nil && !full(err) {
		return nil, r.denied(err)
	}
	if r.events, err = openJournal(r.eventsPath()); err != nil {
		return nil, r.denied(err)
	}
	if r.log, err = r.osDisk().openAppend(r.logPath()); err != nil {
		return nil, r.denied(err)
	}
	if err := r.writeStatus(); err != nil {
		return nil, r.denied(err)
	}
	if err := r.settled(ctx); err != nil {
		return nil, err
	}
	r.clearFolder()
	return r, r.hold()
}

// unopened returns a run with only its folder open.
func unopened(dir string, locks locking) (*Run, error) {
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
			Phase: Running, PID: os.Getpid(), Process: machine(), Host: host, Started: now, Heartbeat: now, Folder: folder.id,
		},
	}, nil
}

func (r *Run) osDisk() osDisk { return osDisk{r.folder} }

// statusTemp is the end of a status file's name while the file is written.
const statusTemp = ".json.tmp"

func (r *Run) statusTempPath() string {
	if r.stage != "" {
		return attemptPath(r.dir, r.stage, r.attempt, statusTemp)
	}
	if r.status.Unlocked { // another process may be writing its own at the same time
		return filepath.Join(r.dir, fmt.Sprintf("status.%d.%d%s", r.status.PID, r.status.Started.UnixNano(), statusTemp))
	}
	return filepath.Join(r.dir, "status"+statusTemp)
}

// writeStatus writes the status, with a heartbeat.
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

// release closes what open opened.
func (r *Run) release() error {
	var errs []error
	if r.events != nil {
		errs = append(errs, r.events.close())
	}
	if r.log != nil {
		errs = append(errs, r.log.Close())
	}
	if r.own != nil {
		errs = append(errs, r.own.Close())
	}
	return errors.Join(append(errs, r.lock.Close(), r.folder.close())...)
}

// beat starts the heartbeat, which ends with Close.
func (r *Run) beat() {
	r.stopped.Go(func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-tick.C:
				if err := r.superseded(); errors.Is(err, ErrSuperseded) {
					r.lose(&loss{cause: err, ours: true})
				}
				if r.loss.Load() != nil {
					return
				}
				// A heartbeat that cannot be written is one that readers
				// miss, and says so by that.
				r.setStatus(func(*Status) {})
			}
		}
	})
}

func (r *Run) setStatus(change func(*Status)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.status)
	if l := r.loss.Load(); l != nil && !l.ours {
		return nil // the folder is lost, and nobody would look for the status there; LostCause says why
	}
	if err := r.writeStatus(); err != nil {
		return fmt.Errorf("runs: %w", err)
	}
	return nil
}

// SetStage writes into the status where the run is.
func (r *Run) SetStage(stage, message string) error {
	return r.setStatus(func(s *Status) { s.Stage, s.Message = stage, message })
}

// SetPhase writes into the status what this process does with the run: Running,
// Paused or Queued.
func (r *Run) SetPhase(phase Phase) error {
	return r.setStatus(func(s *Status) { s.Phase = phase })
}

// Finish writes into the status how the run ended: Finished, Failed or
// Stopped, or that it is Waiting for another process to execute it. A run that
// is closed without it counts as Stopped.
func (r *Run) Finish(how Phase, message string) error {
	return r.setStatus(func(s *Status) { s.Phase, s.Message = how, message })
}

// Close ends the heartbeat, writes the last status, and gives up the lock.
// Further calls return what the first did.
func (r *Run) Close() error {
	r.closing.Do(func() {
		close(r.stop)
		r.stopped.Wait()
		err := r.setStatus(func(s *Status) {
			if s.Phase.alive() {
				s.Phase = Stopped
			}
		})
		r.closeErr = errors.Join(err, r.release())
	})
	return r.closeErr
}

// Dir is the run's folder.
func (r *Run) Dir() string { return r.dir }

// ID is the run's name under its root.
func (r *Run) ID() string { return filepath.Base(r.dir) }

// LogPath is where the run in dir has its log.txt.
func LogPath(dir string) string { return filepath.Join(dir, logFile) }

// Log is the run's log, or the attempt's, open for appending.
func (r *Run) Log() io.Writer { return r.log }

// Emit appends an event, with the present time if it has none, and with the
// stage and the attempt of a run that is open for one stage. After an error
// nothing of the event is seen by readers.
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
		r.saved.Store(&e)
	}
	if r.observer != nil {
		r.observer(e)
	}
	return nil
}

// Observe has f called with every further event when it is written, in their
// order and before Emit returns. f must not wait for anything.
func (r *Run) Observe(f func(Event)) {
	r.emitting.Lock()
	defer r.emitting.Unlock()
	r.observer = f
}

// ReadConfig returns config.toml of the run in dir.
func ReadConfig(dir string) ([]byte, error) {
	data, err := readSmall(filepath.Join(dir, configFile))
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	return data, nil
}
