//go:build gpu

package cuda

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"hatchery/datasets"
	"hatchery/engine/backend"
	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/lower"
	"hatchery/engine/optim"
	"hatchery/engine/runs/safetensors"
	"hatchery/models"
)

// trainer trains learners of a job on one device. Step returns when a step is in the
// device's queue, which holds at most ahead steps.
type trainer struct {
	gpu      *gpu
	job      *backend.Job
	learners []learner
	prepared *prepared

	algorithms map[blas.Gemm]blas.Algorithm // of the program's products; nil if they were not timed
	retuned    bool                         // some algorithms were chosen in this process

	store    store
	executor *executor
	feeder   *feeder
	remarks  []string
	meter    *meter

	results results
	queued  [ahead]stepInfo // the step of each slot of results
	losses  []float64       // of the steps since the last call of Losses; for each step, one per learner
	failed  error

	// The current step, for the device's thread.
	batch *datasets.Batch
	lr    float64
	step  func(*driver.Context) error
	drain func(*driver.Context) error
}

// ahead is the number of steps by which the host may be ahead of the device. Each needs
// memory for its results; two would keep the device busy.
const ahead = 4

// stepInfo identifies a step in the queue.
type stepInfo struct {
	epoch, step int
	lr          float64
}

// learner is the host's part of a learner.
type learner struct {
	*backend.Learner
	params  []models.NetParam
	layout  lower.LearnerParams
	loss    int                  // offset of its loss in the results
	state   int                  // offset of its optimizer's state in the results
	tensors []safetensors.Tensor // allocated once, filled by Tensors
	step    []float32            // the optimizer's step count, as in checkpoints
}

// lossRoom is the number of steps whose losses are kept without allocating.
const lossRoom = 1024

// newTrainer makes a trainer for some learners of a job.
func (g *gpu) newTrainer(j *backend.Job, learners []int) (*trainer, error) {
	t := &trainer{gpu: g, job: j, losses: make([]float64, 0, lossRoom*len(learners))}
	free := int64(0)
	err := g.Do(func(c *driver.Context) (err error) {
		free, _, err = c.MemInfo()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := t.prepare(request{job: j, learners: learners, dtype: g.dtype, budget: free - spare(free)}); err != nil {
		return nil, fmt.Errorf("%s: %w", g.name(), err)
	}
	p := t.prepared
	for i, l := range learners {
		added := learner{Learner: &j.Learners[l], params: j.Learners[l].Trained(), layout: p.params.Learners[i],
			loss: int(p.program.Result(lower.LossName(i)).Offset), state: int(p.program.Result(lower.StateName(i)).Offset)}
		added.allocate(j.Recipe.EMA > 0)
		t.learners = append(t.learners, added)
	}
	t.step, t.drain = t.doStep, t.doDrain
	if err := g.Do(t.open); err != nil {
		t.Close()
		return nil, fmt.Errorf("%s: %w", g.name(), err)
	}
	t.meter = startMeter(g.UUID)
	return t, nil
}

// prepare lowers the job and chooses how its products are computed. It frees its device
// memory before that of the job is allocated.
func (t *trainer) prepare(r request) error {
	tuner, err := t.gpu.newTuner(r.job.Tunings)
	if err != nil {
		return err
	}
	defer tuner.close()
	r.exists = tuner.exists
	if r.job.Tunings != nil {
		r.choose = tuner.supports
	}
	var remark string
	t.prepared, remark, err = prepare(context.Background(), r)
	if err := errors.Join(err, tuner.err); err != nil {
		return err
	}
	if t.algorithms, err = tuner.finish(t.prepared.program.Products()); err != nil {
		return err
	}
	t.retuned = tuner.retuned
	for _, s := range append([]string{remark}, tuner.remarks()...) {
		if s != "" {
			t.remarks = append(t.remarks, t.gpu.name()+" "+s)
		}
	}
	return nil
}

// allocate makes the tensors of a checkpoint.
func (l *learner) allocate(ema bool) {
	l.step = make([]float32, 1)
	add := func(name string, shape []int, data []float32) {
		l.tensors = append(l.tensors, safetensors.Tensor{Name: name, Shape: shape, Data: data})
	}
	for _, p := range l.params {
		add(p.Name, p.Shape, make([]float32, p.Size()))
	}
	add(optim.StepName, []int{1}, l.step)
	for _, p := range l.params {
		m, v := optim.MomentNames(p.Name)
		add(m, p.Shape, make([]float32, p.Size()))
		add(v, p.Shape, make([]float32, p.Size()))
	}
	for _, p := range l.params {
		if ema {
			add(optim.EMAName(p.Name), p.Shape, make([]float32, p.Size()))
		}
	}
}

// open allocates, rehearses the step, uploads the weights and captures the step.
func (t *trainer) open(c *driver.Context) error {
	g, p, s := t.gpu, t.prepared, &t.store
	floats := func(n int) int64 { return 4 * int64(n) }
	sizes := map[lower.Region]int64{
		lower.Arena: p.program.ArenaBytes, lower.Master: floats(p.params.Elements), lower.Grads: floats(p.params.GradElements),
		lower.Moment1: floats(p.params.Trained), lower.Moment2: floats(p.params.Trained), lower.Tables: int64(p.params.TableBytes),
		lower.Input: p.program.InputBytes, lower.Results: p.program.ResultBytes,
	}
	if g.dtype == kernels.BF16 {
		sizes[lower.Copies] = floats(p.params.Elements) / 2
	}
	if t.hasEMA() {
		sizes[lower.EMA] = floats(p.params.Trained)
		if g.dtype == kernels.BF16 {
			sizes[lower.EMACopies] = floats(p.params.Trained) / 2
		}
	}
	if err := s.allocRegions(c, g.queue, sizes); err != nil {
		return err
	}
	tables := make([]byte, p.params.TableBytes)
	p.params.Table(tables)
	if err := driver.Upload(g.queue, s.regions[lower.Tables], tables); err != nil {
		return err
	}
	var err error
	if t.executor, err = g.newExecutor(c, p.program, s, t.algorithms); err != nil {
		return err
	}
	if err := t.executor.rehearse(); err != nil {
		return err
	}
	for region, bytes := range sizes { // undo what the rehearsal wrote
		if region == lower.Tables {
			continue
		}
		if err := g.queue.Zero(s.regions[region], max(bytes, 1)); err != nil {
			return err
		}
	}
	if err := g.upload(s, p.params, t.job.Weights); err != nil {
		return err
	}
	if t.hasEMA() { // it starts as a copy of the parameters
		if err := g.queue.CopyOnDevice(s.regions[lower.EMA], s.regions[lower.Master], floats(p.params.Trained)); err != nil {
			return err
		}
	}
	drops := map[string]backend.DropPath{}
	for _, d := range p.graph.DropPaths {
		drops[d.Node.Name()] = backend.NewDropPath(d, t.job)
	}
	if t.feeder, err = newFeeder(c, g.queue, p.program, s, drops, t.job.Recipe.Batch); err != nil {
		return err
	}
	if t.results, err = newResults(c, p.program, s, ahead); err != nil {
		return err
	}
	if err := g.queue.Synchronize(); err != nil {
		return err
	}
	return t.executor.capture()
}

// upload writes the parameters of a store and their copies.
func (g *gpu) upload(s *store, p *lower.Params, w backend.Weights) error {
	all := make([]float32, p.Elements)
	if err := p.Gather(all, w); err != nil {
		return err
	}
	if err := driver.Upload(g.queue, s.regions[lower.Master], all); err != nil {
		return err
	}
	return g.updateCopies(s, p)
}

// averages reports whether the trainer keeps moving averages of its parameters.
func (t *trainer) hasEMA() bool { return t.job.Recipe.EMA > 0 }

// updateCopies updates the bfloat16 copies of all parameters.
func (g *gpu) updateCopies(s *store, p *lower.Params) error {
	return g.cast(s, p.Elements, lower.Copies, lower.Master)
}

// cast copies n float32 of a region to another as bfloat16 and waits. In float32, where
// there are no copies, it does nothing.
func (g *gpu) cast(s *store, n int, to, from lower.Region) error {
	if g.dtype == kernels.F32 {
		return nil
	}
	l := kernels.CastToBF16(n, kernels.Buffer{ID: to}, kernels.Buffer{ID: from})
	work, err := g.launch(g.queue, l, s)
	if err != nil {
		return err
	}
	if err := work.submit(); err != nil {
		return err
	}
	return g.queue.Synchronize()
}

// Step implements backend.Trainer.
func (t *trainer) Step(b *datasets.Batch, lr float64) error {
	if t.failed != nil {
		return t.failed
	}
	t.batch, t.lr = b, lr
	if err := t.gpu.Do(t.step); err != nil {
		return t.fail(err)
	}
	t.batch = nil
	return nil
}

// fail stores an error, which all later calls return.
func (t *trainer) fail(err error) error {
	if _, ok := errors.AsType[*backend.Diverged](err); !ok {
		err = fmt.Errorf("%s: %w", t.gpu.name(), err)
	}
	t.failed = err
	return err
}

func (t *trainer) doStep(*driver.Context) error {
	if t.results.full() {
		if err := t.readOne(); err != nil {
			return err
		}
	}
	main := t.executor.streams[0]
	if err := t.feeder.feed(main, t.batch, t.lr); err != nil {
		return err
	}
	if err := t.executor.run(); err != nil {
		return err
	}
	slot, err := t.results.request(main)
	t.queued[slot] = stepInfo{t.batch.Epoch, t.batch.Step, t.lr}
	return err
}

// readOne waits for the results of the oldest step that has not been read.
func (t *trainer) readOne() error {
	slot, memory, err := t.results.wait()
	if err != nil {
		return err
	}
	b := memory.Bytes()
	for i := range t.learners {
		l := &t.learners[i]
		state := kernels.ReadState(b[l.state:])
		loss := float64(*(*float32)(unsafe.Pointer(&b[l.loss])))
		if state.Diverged != 0 {
			q := t.queued[slot]
			d := &backend.Diverged{Stage: l.Stage, What: "loss", Value: loss, Epoch: q.epoch, Step: q.step, LR: q.lr}
			if backend.Finite(loss) {
				d.What, d.Value = "gradient norm", state.Norm
			}
			return d
		}
		t.losses = append(t.losses, loss)
	}
	return nil
}

func (t *trainer) doDrain(*driver.Context) error {
	for !t.results.empty() {
		if err := t.readOne(); err != nil {
			return err
		}
	}
	return nil
}

// wait waits for all steps.
func (t *trainer) wait() error {
	if t.failed != nil {
		return t.failed
	}
	if err := t.gpu.Do(t.drain); err != nil {
		return t.fail(err)
	}
	return nil
}

// Losses implements backend.Trainer.
func (t *trainer) Losses(sums []float64) error {
	if err := t.wait(); err != nil {
		return err
	}
	for i, loss := range t.losses {
		sums[i%len(t.learners)] += loss
	}
	t.losses = t.losses[:0]
	return nil
}

// Tensors implements backend.Trainer.
func (t *trainer) Tensors(i int) ([]safetensors.Tensor, error) {
	if err := t.wait(); err != nil {
		return nil, err
	}
	l := &t.learners[i]
	err := t.gpu.Do(func(*driver.Context) error {
		var state [kernels.StateBytes]byte
		if err := driver.Download(t.gpu.queue, state[:], t.store.regions[lower.Results]+driver.Ptr(l.state)); err != nil {
			return err
		}
		l.step[0] = float32(kernels.ReadState(state[:]).Steps)
		return t.eachTensor(i, func(data []float32, address driver.Ptr) error { return driver.Download(t.gpu.queue, data, address) })
	})
	if err != nil {
		return nil, t.fail(err)
	}
	return l.tensors, nil
}

// eachTensor calls f with the data and the address of every tensor of learner i except the
// step count.
func (t *trainer) eachTensor(i int, f func(data []float32, address driver.Ptr) error) error {
	l, s := &t.learners[i], &t.store
	n := len(l.params)
	for k, p := range l.params {
		offset, _ := t.prepared.params.Offset(p.Leaf())
		for _, x := range []struct {
			region lower.Region
			tensor int
		}{{lower.Master, k}, {lower.Moment1, n + 1 + 2*k}, {lower.Moment2, n + 2 + 2*k}, {lower.EMA, 3*n + 1 + k}} {
			if x.region == lower.EMA && !t.hasEMA() {
				continue
			}
			if err := f(l.tensors[x.tensor].Data, s.regions[x.region]+driver.Ptr(4*offset)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Restore implements backend.Trainer.
func (t *trainer) Restore(i int, lookup func(string) (safetensors.Tensor, bool)) error {
	if err := t.wait(); err != nil {
		return err
	}
	l := &t.learners[i]
	for _, p := range l.params {
		if got, ok := lookup(p.Name); !ok || len(got.Data) != p.Size() {
			return backend.Mismatch(p.Param, got, ok)
		}
	}
	state := func(yield func(string, []float32) bool) {
		for _, t := range l.tensors[len(l.params) : 3*len(l.params)+1] {
			if !yield(t.Name, t.Data) {
				return
			}
		}
	}
	find := func(name string) []float32 {
		t, _ := lookup(name)
		return t.Data
	}
	if err := optim.CheckState(state, find); err != nil {
		return err
	}
	for _, want := range l.tensors[3*len(l.params)+1:] {
		if len(find(want.Name)) != len(want.Data) {
			return fmt.Errorf("%s has %d elements in the checkpoint, %d here: it was made without an EMA, or by another network", want.Name, len(find(want.Name)), len(want.Data))
		}
	}
	for _, have := range l.tensors {
		got, _ := lookup(have.Name)
		copy(have.Data, got.Data)
	}
	err := t.gpu.Do(func(*driver.Context) error {
		var state [kernels.StateBytes]byte
		kernels.State{Steps: int64(l.step[0])}.Put(state[:])
		if err := driver.Upload(t.gpu.queue, t.store.regions[lower.Results]+driver.Ptr(l.state), state[:]); err != nil {
			return err
		}
		err := t.eachTensor(i, func(data []float32, address driver.Ptr) error { return driver.Upload(t.gpu.queue, address, data) })
		if err != nil {
			return err
		}
		return t.gpu.updateCopies(&t.store, t.prepared.params)
	})
	if err != nil {
		return t.fail(err)
	}
	return nil
}

// Remarks implements backend.Trainer.
func (t *trainer) Remarks() []string { return t.remarks }

// Device implements backend.Trainer.
func (t *trainer) Device(int) backend.Device {
	name := fmt.Sprintf("%s, driver %s, cuBLAS %s", t.gpu.Name, driverVersion(), blas.Version())
	return backend.Device{Name: name, Retuned: t.retuned}
}

// Close implements backend.Trainer.
func (t *trainer) Close() error {
	if t.meter != nil {
		t.meter.close()
	}
	return t.gpu.Do(func(c *driver.Context) error {
		_ = c.Synchronize() // an earlier call returned its error
		if t.feeder != nil {
			t.feeder.close()
		}
		if t.executor != nil {
			t.executor.close()
		}
		t.results.close()
		t.store.free(c)
		return nil
	})
}
