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

// Outcome is the file "done" of a stage. It is written last, so where it is,
// the stage needs no more work.
type Outcome struct {
	Stage      string    `json:"stage"`
	Time       time.Time `json:"time"`
	Epoch      int       `json:"epoch"`
	Step       int       `json:"step"`
	Checkpoint string    `json:"checkpoint"`       // name of the final checkpoint in the stage's folder
	SHA256     string    `json:"sha256"`           // its seal
	Values     Values    `json:"values"`           // final results
	Origin     string    `json:"origin,omitempty"` // the run in which it was executed, if not this one

	// Weights is a digest of the weights that later stages read. It is the same
	// after the stage is trained again to the same weights, although the checkpoint
	// then differs, since it also records times. "" if an older version wrote this.
	Weights string `json:"weights,omitempty"`
	*Identity
}

// FinishStage emits "stage-end" and then marks the stage as done with final,
// the checkpoint that Save wrote last.
func (r *Run) FinishStage(final *Checkpoint, results Values) error {
	if err := r.finishStage(final, results, ""); err != nil {
		return fmt.Errorf("runs: end of stage %s: %w", final.Stage, err)
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
	// The event first: a marker whose event was lost would hide the stage's
	// end from readers for ever, while a stage without its marker is resumed
	// and ends again.
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
	r.finished.Store(true) // or the heartbeat would take the mark for another's
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

// putOnce puts a file in its place if there is none yet. Whatever an older
// attempt was told a moment ago, only one ends the stage.
func (r *Run) putOnce(path string, data []byte) error {
	temp := filepath.Join(filepath.Dir(path), tempName(doneName, r.attempt))
	if err := writeSynced(r.disk, temp, data); err != nil {
		return err
	}
	defer r.disk.remove(temp)
	err := r.osDisk().linkOnce(temp, path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s is there already", ErrSuperseded, path)
	}
	if err != nil { // a file system without links
		return r.disk.rename(temp, path)
	}
	return nil
}

// FinishRun says in the run's own status that all stages are done. It is for the
// attempt that ends the last of them.
func (r *Run) FinishRun() error {
	r.mu.Lock()
	s := r.status
	r.mu.Unlock()
	s.Phase, s.Message, s.Heartbeat = Finished, "", time.Now().UTC()
	s.Attempt, s.Job, s.Further = 0, "", false
	temp := filepath.Join(r.dir, fmt.Sprintf("status.%s.%d.tmp", r.stage, r.attempt)) // other stages may end at the same time
	if err := writeStatus(r.osDisk(), filepath.Join(r.dir, statusFile), temp, s); err != nil {
		return fmt.Errorf("runs: %w", err)
	}
	return nil
}

// ReadOutcome returns how a stage of the run in dir ended, or nil if it has not.
// The error is a *Damaged if the done file cannot be understood.
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
		err = errors.New("names no checkpoint")
	}
	if err != nil {
		return nil, &Damaged{stage, path, fmt.Errorf("runs: %s: %w", path, err)}
	}
	return &o, nil
}

// Ended counts the stages of the run in dir that have ended.
func Ended(dir string) (int, error) {
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

// LoadFinal loads the checkpoint with which a stage ended. The error wraps
// ErrNoCheckpoint if the stage is not done, and is a *Damaged if the file is
// missing, corrupt or not the one that the stage ended with.
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
		err = fmt.Errorf("runs: %s: this is not the checkpoint that the stage ended with: its SHA-256 is %.12s..., want %.12s", path, c.SHA256, o.SHA256)
	}
	if err != nil {
		return nil, &Damaged{stage, path, err}
	}
	return c, nil
}
