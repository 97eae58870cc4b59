package pipeline

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"hatchery/engine/backend"
	"hatchery/engine/runs"
)

// Metadata of a training checkpoint beside what package runs keeps.
const (
	metaEpochs  = "epochs"     // of the stage, decided when it began
	metaLossSum = "loss_sum"   // over the steps of the epoch under way
	metaSeconds = TrainSeconds // so far
	metaCost    = CPUSeconds   // so far
	metaDevice  = "device"     // backend.Device.Name of what made the last step; of older versions its kind, "cuda"
	metaWeights = "weights"    // averageWeights if the result of the stage is its averages, not the weights beside them
)

// averageWeights is the value of metaWeights for averages.
const averageWeights = "average"

// save writes a checkpoint of every stage. scores is nil if the weights were
// not evaluated.
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
	t.saved = time.Now()
	return all, nil
}

// checkpoint returns everything that stage i needs to continue from its present state.
func (t *training) checkpoint(i int) (c *runs.Checkpoint, err error) {
	s := t.stages[i]
	c = &runs.Checkpoint{
		Stage: s.Name, Epoch: t.epoch, Partial: t.partial, Step: t.step(), Score: math.NaN(),
		Metadata: map[string]string{
			metaEpochs:  strconv.Itoa(t.epochs),
			metaLossSum: strconv.FormatFloat(t.lossSums[i], 'g', -1, 64),
			metaSeconds: strconv.FormatFloat(t.share().seconds, 'g', -1, 64),
			metaCost:    strconv.FormatFloat(t.share().cpu, 'g', -1, 64),
		},
	}
	// A stage that an older version began has no identity, and cannot get one now:
	// what it was trained on so far is not known.
	if c.Identity = t.ids[i]; c.Identity == nil {
		for stage, seal := range t.seals {
			c.Metadata[metaInput+stage] = seal
		}
	}
	if s.judged() == onAverages {
		c.Metadata[metaWeights] = averageWeights
	}
	c.Metadata[metaDevice] = t.trainer.Device(i).Name
	c.Tensors, err = t.trainer.Tensors(i)
	return c, err
}

// restore continues stage i from a checkpoint.
func (t *training) restore(i int, c *runs.Checkpoint, data runs.Data) (err error) {
	// The latest checkpoint was compared when the run began. If it turned out to be
	// damaged, c is an earlier one, and is compared here.
	s := t.stages[i].Stage
	b := &begun{Stage: s, id: c.Identity, legacy: c.Metadata}
	r, err := compare(t.config, t.run.Dir(), []*begun{b}, func(*begun) (runs.Data, error) { return data, nil })
	if err == nil {
		err = r.err()
	}
	if err != nil {
		return err
	}
	if c.Identity != nil {
		t.ids[i] = wentOn(t.config, s, c.Identity, data)
	}
	t.epoch, t.partial = c.Epoch, c.Partial
	if t.epochs, err = strconv.Atoi(c.Metadata[metaEpochs]); err != nil {
		return fmt.Errorf("metadata %s: %w", metaEpochs, err)
	}
	var was spent
	for key, into := range map[string]*float64{metaLossSum: &t.lossSums[i], metaSeconds: &was.seconds, metaCost: &was.cpu} {
		if *into, err = strconv.ParseFloat(c.Metadata[key], 64); err != nil {
			return fmt.Errorf("metadata %s: %w", key, err)
		}
	}
	t.spent = t.spent.plus(was)
	if doubt := t.otherBits(c.Metadata[metaDevice], t.trainer.Device(i)); doubt != "" {
		if err := t.run.Emit(runs.Event{Kind: runs.Warning, Stage: t.stages[i].Name, Message: doubt}); err != nil {
			return err
		}
	}
	return t.trainer.Restore(i, c.Tensor)
}

// otherBits returns the reason why training that continues on device now, after device
// was, may end with other bits than without an interruption, or "".
func (t *training) otherBits(was string, now backend.Device) string {
	switch {
	case was != "" && was != now.Name && was != t.backend.Info().Kind:
		return fmt.Sprintf("was trained on %s so far and continues on %s: the result will not be bit for bit that of one device", was, now.Name)
	case now.Retuned:
		return "continues with newly chosen kernels, because the earlier choice is missing or does not fit: " +
			"the result may differ in the last bits from that of a run without interruption"
	}
	return ""
}
