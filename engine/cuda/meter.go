//go:build gpu

package cuda

import (
	"sync"
	"time"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/nvml"
	"hatchery/engine/runs"
)

// meter reads how a card is from time to time. A reading may take milliseconds,
// so it has a goroutine of its own, which close ends.
type meter struct {
	stop, done chan struct{}
	mu         sync.Mutex
	last       nvml.Reading
	read       bool
}

// meterEvery is the time between two readings.
const meterEvery = time.Second

// startMeter begins to read a card; without NVML there is nothing to read.
func startMeter(uuid string) *meter {
	m := &meter{stop: make(chan struct{}), done: make(chan struct{})}
	go m.run(uuid)
	return m
}

func (m *meter) run(uuid string) {
	defer close(m.done)
	card, err := nvml.Open(uuid)
	if err != nil {
		return // doctor says why
	}
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		r, err := card.Read()
		m.mu.Lock()
		m.last, m.read = r, err == nil
		m.mu.Unlock()
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
	}
}

// now returns the last reading, false if there is none.
func (m *meter) now() (nvml.Reading, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.read
}

func (m *meter) close() {
	close(m.stop)
	<-m.done
}

// Meters implements backend.Meter.
func (t *trainer) Meters(_ int, speed float64) map[string]float64 {
	products := 2 * float64(t.prepared.program.MACs) * speed / float64(t.job.Recipe.Batch)
	v := map[string]float64{runs.GPU: float64(t.gpu.Ordinal), runs.GPUProducts: products}
	if peak, ok := Peak(t.gpu.Name); ok && t.gpu.dtype == kernels.BF16 {
		v[runs.MFU] = 100 * products / peak
	}
	r, ok := t.meter.now()
	if !ok {
		return v
	}
	v[runs.GPUBusy] = float64(r.Busy)
	for name, x := range map[string]float64{
		runs.GPUMemory: float64(r.Used), runs.GPUMemoryTotal: float64(r.Total), runs.GPUTemperature: float64(r.Temperature), runs.GPUPower: r.Power,
	} {
		if x > 0 { // 0: the card does not say
			v[name] = x
		}
	}
	return v
}
