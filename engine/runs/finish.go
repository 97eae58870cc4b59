package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Outcome is the content of a stage's done file. That file is written last: if it exists,
// the stage is finished.
type Outcome struct {
	Stage      string    `json:"stage"`
	Time       time.Time `json:"time"`
	Epoch      int       `json:"epoch"`
	Step       int       `json:"step"`
	Checkpoint string    `json:"checkpoint"`       // file name of the final checkpoint
	SHA256     string    `json:"sha256"`           // seal of the final checkpoint
	Values     Values    `json:"values"`           // final results
	Origin     string    `json:"origin,omitempty"` // the run that executed the stage, if not this one

	// Weights is a digest of the weights that later stages read. If the stage is
	// trained again and ends with the same weights, the digest is the same, although
	// the checkpoint differs, since it also records times. It is "" in done files of
	// older versions.
	Weights string `json:"weights,omitempty"`
	*Identity
}

// FinishStage emits "stage-end" and then marks the stage as done. final is the checkpoint
// that Save wrote last.
func (r *Run) FinishStage(final *Checkpoint, results Values) error {
	if err := r.finishStage(final, results, ""); err != nil {
		return fmt.Errorf("runs: cannot finish stage %s: %w", final.Stage, err)
	}
	return nil
}

func (r *Run) finishStage(final *Checkpoint, results Values, origin string) error {
	if final.SHA256 == "" {
		return errors.New("the final checkpoint was not saved")
	}
	o := Outcome{
		Stage: final.Stage, Time: time.Now().UTC().Truncate(time.Millisecond),
		Epoch: final.Epoch, Step: final.Step,
		Checkpoint: filepath.Base(final.Path), SHA256: final.SHA256, Values: results, Origin: origin,
		Weights: final.Weights, Identity: final.Identity,
	}
	data, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	// The event comes first: with a done file but no event, readers would never see
	// the end of the stage. With an event but no done file, the stage is resumed and
	// ends again.
	e := Event{Kind: StageEnd, Stage: final.Stage, Epoch: final.Epoch, Step: final.Step, Values: results, Time: o.Time}
	if err := r.Emit(e); err != nil {
		return err
	}
	if err := r.events.sync(); err != nil {
		return err
	}
	if err := r.superseded(); err != nil {
		return err
	}
	dir := stageDir(r.dir, final.Stage)
	r.finished.Store(true) // otherwise the heartbeat would ascribe the done file to another attempt
	if r.stage == "" {
		err = replace(r.disk, filepath.Join(dir, doneName), filepath.Join(dir, tempName(doneName, 0)), append(data, '\n'))
	} else {
		err = r.putOnce(filepath.Join(dir, doneName), append(data, '\n'))
	}
	if err != nil {
		r.finished.Store(false)
		return err
	}
	return r.disk.syncDir(dir)
}

// putOnce writes a file atomically if it does not exist yet, so that only one attempt can
// finish the stage.
func (r *Run) putOnce(path string, data []byte) error {
	temp := filepath.Join(filepath.Dir(path), tempName(doneName, r.attempt))
	if err := writeSynced(r.disk, temp, data); err != nil {
		return err
	}
	defer r.disk.remove(temp)
	err := r.osDisk().linkOnce(temp, path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s already exists", ErrSuperseded, path)
	}
	if err != nil { // the file system has no links
		return r.disk.rename(temp, path)
	}
	return nil
}

// FinishRun sets the status of the whole run to Finished. The attempt that finishes the
// last stage calls it.
func (r *Run) FinishRun() error {
	r.mu.Lock()
	s := r.status
	r.mu.Unlock()
	s.Phase, s.Message, s.Heartbeat = Finished, "", time.Now().UTC()
	s.Attempt, s.Job, s.Advanced = 0, "", false
	temp := filepath.Join(r.dir, fmt.Sprintf("status.%s.%d.tmp", r.stage, r.attempt)) // other stages may end at the same time
	if err := writeStatus(r.osDisk(), filepath.Join(r.dir, statusFile), temp, s); err != nil {
		return fmt.Errorf("runs: %w", err)
	}
	return nil
}

// ReadOutcome reads the done file of a stage of the run in dir. It returns nil if the stage
// is not done. The error is a *Damaged if the file is not valid.
func ReadOutcome(dir, stage string) (*Outcome, error) {
	path := filepath.Join(stageDir(dir, stage), doneName)
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	var o Outcome
	err = json.Unmarshal(data, &o)
	if err == nil && (o.Checkpoint == "" || o.SHA256 == "") {
		err = errors.New("it names no checkpoint")
	}
	if err != nil {
		return nil, &Damaged{stage, path, fmt.Errorf("runs: %s: %w", path, err)}
	}
	return &o, nil
}

// CountEnded returns the number of stages of the run in dir that are done.
func CountEnded(dir string) (int, error) {
	stages, err := os.ReadDir(filepath.Join(dir, stagesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("runs: %w", err)
	}
	n := 0
	for _, s := range stages {
		if _, err := os.Stat(filepath.Join(stageDir(dir, s.Name()), doneName)); err == nil {
			n++
		}
	}
	return n, nil
}

// FinalHeader returns the final checkpoint of a stage without its tensors and
// without verifying it, or nil if the stage is not done. The error is a *Damaged if
// the checkpoint cannot be read.
func FinalHeader(dir, stage string) (*Checkpoint, error) {
	return loadFinal(dir, stage, loadHeader)
}

// LoadFinal loads the final checkpoint of a stage. The error wraps ErrNoCheckpoint if the
// stage is not done, and is a *Damaged if the file is missing, corrupt or not the one that
// the stage ended with.
func LoadFinal(dir, stage string) (*Checkpoint, error) {
	c, err := loadFinal(dir, stage, LoadCheckpoint)
	if c == nil && err == nil {
		return nil, fmt.Errorf("runs: stage %s of %s is not done: %w", stage, dir, ErrNoCheckpoint)
	}
	return c, err
}

func loadFinal(dir, stage string, load func(path string) (*Checkpoint, error)) (*Checkpoint, error) {
	o, err := ReadOutcome(dir, stage)
	if o == nil || err != nil {
		return nil, err
	}
	path := filepath.Join(stageDir(dir, stage), filepath.Base(o.Checkpoint))
	c, err := load(path)
	if err == nil && c.SHA256 != o.SHA256 {
		err = fmt.Errorf("runs: %s: not the checkpoint that the stage ended with: its SHA-256 is %.12s..., not %.12s... as recorded", path, c.SHA256, o.SHA256)
	}
	if err != nil {
		return nil, &Damaged{stage, path, err}
	}
	return c, nil
}
