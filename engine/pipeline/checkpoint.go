package pipeline

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"hatchery/engine/backend"
	"hatchery/engine/runs"
)

// Metadata keys of a training checkpoint, in addition to those of package runs.
const (
	metaEpochs  = "epochs"     // number of epochs of the stage, decided at its start
	metaLossSum = "loss_sum"   // sum of the losses in the current epoch
	metaSeconds = TrainSeconds // so far
	metaCost    = CPUSeconds   // so far
	metaDevice  = "device"     // backend.Device.Name of the device of the last step; in older versions its kind, "cuda"
	metaWeights = "weights"    // averageWeights if the result of the stage is the averaged weights
)

// averageWeights is the value of metaWeights for averaged weights.
const averageWeights = "average"

// save writes a checkpoint of every stage. scores is nil if the weights were not evaluated.
func (t *training) save(scores []Score) ([]*runs.Checkpoint, error) {
	if err := t.trainer.Losses(t.lossSums); err != nil {
		return nil, err
	}
	var all []*runs.Checkpoint
	for i := range t.stages {
		c, err := t.checkpoint(i)
		if err != nil {
			return nil, err
		}
		if scores != nil {
			c.Score = scores[i].Top1
		}
		if err := t.run.Save(c); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	t.lastSave = time.Now()
	return all, nil
}

// checkpoint returns a checkpoint of the current state of stage i.
func (t *training) checkpoint(i int) (c *runs.Checkpoint, err error) {
	s := t.stages[i]
	c = &runs.Checkpoint{
		Stage: s.Name, Epoch: t.epoch, Partial: t.partial, Step: t.step(), Score: math.NaN(),
		Metadata: map[string]string{
			metaEpochs:  strconv.Itoa(t.epochs),
			metaLossSum: strconv.FormatFloat(t.lossSums[i], 'g', -1, 64),
			metaSeconds: strconv.FormatFloat(t.perStage().seconds, 'g', -1, 64),
			metaCost:    strconv.FormatFloat(t.perStage().cpu, 'g', -1, 64),
		},
	}
	// A stage that was started by an older version has no identity. It cannot get one
	// now, because its earlier configuration and data are unknown.
	if c.Identity = t.ids[i]; c.Identity == nil {
		for stage, seal := range t.seals {
			c.Metadata[metaInput+stage] = seal
		}
	}
	if s.evalTarget() == evalAverages {
		c.Metadata[metaWeights] = averageWeights
	}
	c.Metadata[metaDevice] = t.trainer.Device(i).Name
	c.Tensors, err = t.trainer.Tensors(i)
	return c, err
}

// restore continues stage i from a checkpoint.
func (t *training) restore(i int, c *runs.Checkpoint, data runs.Data) (err error) {
	// The latest checkpoint was compared at the start of the run. If it was damaged, c
	// is an earlier one, which is compared here.
	s := t.stages[i].Stage
	b := &startedStage{Stage: s, id: c.Identity, legacy: c.Metadata}
	r, err := compare(t.config, t.run.Dir(), []*startedStage{b}, func(*startedStage) (runs.Data, error) { return data, nil })
	if err == nil {
		err = r.err()
	}
	if err != nil {
		return err
	}
	if c.Identity != nil {
		t.ids[i] = continuedIdentity(t.config, s, c.Identity, data)
	}
	t.epoch, t.partial = c.Epoch, c.Partial
	if t.epochs, err = strconv.Atoi(c.Metadata[metaEpochs]); err != nil {
		return fmt.Errorf("metadata %s: %w", metaEpochs, err)
	}
	var was timeSpent
	for key, into := range map[string]*float64{metaLossSum: &t.lossSums[i], metaSeconds: &was.seconds, metaCost: &was.cpu} {
		if *into, err = strconv.ParseFloat(c.Metadata[key], 64); err != nil {
			return fmt.Errorf("metadata %s: %w", key, err)
		}
	}
	t.spent = t.spent.add(was)
	if warning := t.roundingWarning(c.Metadata[metaDevice], t.trainer.Device(i)); warning != "" {
		if err := t.run.Emit(runs.Event{Kind: runs.Warning, Stage: t.stages[i].Name, Message: warning}); err != nil {
			return err
		}
	}
	return t.trainer.Restore(i, c.Tensor)
}

// roundingWarning returns the reason why a stage that was trained on device was, and
// continues on device now, may end with slightly different weights than without an
// interruption. It returns "" if there is no such reason.
func (t *training) roundingWarning(was string, now backend.Device) string {
	switch {
	case was != "" && was != now.Name && was != t.backend.Info().Kind:
		return fmt.Sprintf("was trained on %s so far and continues on %s: the result will not be bit for bit the same as on one device", was, now.Name)
	case now.Retuned:
		return "continues with newly chosen kernels, because the earlier choice is missing or does not fit: " +
			"the result may differ in the last bits from that of an uninterrupted run"
	}
	return ""
}
