package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

const tuningName = "autotune.json"

// TuningPath returns the file in which SaveTuning stores the tuning of a stage of the run in
// dir.
func TuningPath(dir, stage string) string { return filepath.Join(stageDir(dir, stage), tuningName) }

// ReadTuning returns the tuning of a stage of the run in dir, nil if there is none.
func ReadTuning(dir, stage string) ([]byte, error) {
	data, err := readSmall(TuningPath(dir, stage))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("runs: %w; delete the file to choose kernels again, which changes results in the last bits", err)
	}
	return data, nil
}

// SaveTuning stores the tuning of a stage: which kernels its device chose by timing. It
// replaces an earlier tuning atomically and durably. The error wraps ErrSuperseded if
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
		return fmt.Errorf("this process executes only stage %s", r.stage)
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
