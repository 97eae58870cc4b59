package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

const tuningName = "autotune.json"

// TuningPath is where SaveTuning keeps the tuning of a stage of the run in dir.
func TuningPath(dir, stage string) string { return filepath.Join(stageDir(dir, stage), tuningName) }

// ReadTuning returns what SaveTuning kept with a stage of the run in dir, nil if
// there is nothing.
func ReadTuning(dir, stage string) ([]byte, error) {
	data, err := readSmall(TuningPath(dir, stage))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("runs: %w; delete it to have kernels chosen anew, which changes results in the last bits", err)
	}
	return data, nil
}

// SaveTuning keeps with a stage what its device chose by timing, in place of what
// was there: whole and durable, or not at all. The error wraps ErrSuperseded if
// another attempt has the stage.
func (r *Run) SaveTuning(stage string, data []byte) error {
	if err := r.saveTuning(stage, data); err != nil {
		return fmt.Errorf("runs: tuning of %s: %w", stage, err)
	}
	return nil
}

func (r *Run) saveTuning(stage string, data []byte) error {
	if err := checkName("stage", stage); err != nil {
		return err
	}
	if r.stage != "" && stage != r.stage {
		return fmt.Errorf("this process has stage %s only", r.stage)
	}
	dir := stageDir(r.dir, stage)
	if err := r.makeStageDir(dir); err != nil {
		return err
	}
	temp := filepath.Join(dir, tempName(tempTuning, r.attempt))
	err := writeSynced(r.disk, temp, data)
	if err == nil {
		err = r.superseded()
	}
	if err == nil {
		err = r.disk.rename(temp, TuningPath(r.dir, stage))
	}
	if err != nil {
		return errors.Join(err, r.disk.remove(temp))
	}
	return r.disk.syncDir(dir)
}
