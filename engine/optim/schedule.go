package optim

import "math"

// Schedule is a learning rate with linear warm-up and cosine decay, as timm's
// CosineLRScheduler with one cycle and warmup_prefix=False: the cosine is over
// all of Total and does not wait for the warm-up, so the rate has already
// fallen a little when the warm-up ends. With Start at the end of the warm-up
// the cosine begins there and falls from LR, as in the code of MAE and of ViT.
//
// The unit of t, Warmup and Total is an epoch or an optimizer step. timm's
// training script gives epoch e, counted from 0, the rate of the schedule at e.
// DeiT's script, and with it the official code of Deep Model Assembling, sets
// the rate of epoch e after that epoch, so that the first two epochs have the
// same rate and every later epoch has that of the epoch before: a Lag of 1.
type Schedule struct {
	LR       float64 // base rate, the top of the cosine
	MinLR    float64 // at Total and later
	WarmupLR float64 // at t = 0, if there is a warm-up
	Warmup   int
	Total    int
	Start    int // of the cosine; less than Total
	Lag      int // subtracted from t
}

// At returns the learning rate at t >= 0.
func (s Schedule) At(t int) float64 {
	t = max(0, t-s.Lag)
	switch {
	case t < s.Warmup:
		return s.WarmupLR + float64(t)*((s.LR-s.WarmupLR)/float64(s.Warmup))
	case t >= s.Total:
		return s.MinLR
	}
	return s.MinLR + 0.5*(s.LR-s.MinLR)*(1+math.Cos(math.Pi*float64(t-s.Start)/float64(s.Total-s.Start)))
}

// PerStep converts a schedule in epochs to one in optimizer steps. Its t counts the steps
// taken so far, like num_updates of timm's step_update.
func (s Schedule) PerStep(stepsPerEpoch int) Schedule {
	s.Warmup *= stepsPerEpoch
	s.Total *= stepsPerEpoch
	s.Start *= stepsPerEpoch
	s.Lag *= stepsPerEpoch
	return s
}
