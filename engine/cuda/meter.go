//go:build gpu

package cuda

import (
	"sync"
	"time"

	"hatchery/engine/cuda/kernels"
	"hatchery/engine/cuda/nvml"
	"hatchery/engine/runs"
)

// meter reads the state of a card periodically. A reading may take milliseconds, so a
// separate goroutine does it, which close ends.
type meter struct {
	stop, done chan struct{}
	mu         sync.Mutex
	last       nvml.Reading
	read       bool
}

// meterInterval is the time between two readings.
const meterInterval = time.Second

// startMeter starts to read a card. Without NVML there are no readings.
func startMeter(uuid string) *meter {
	m := &meter{stop: make(chan struct{}), done: make(chan struct{})}
	go m.run(uuid)
	return m
}

func (m *meter) run(uuid string) {
	defer close(m.done)
	card, err := nvml.Open(uuid)
	if err != nil {
		return // `hatchery doctor` prints the reason
	}
	tick := time.NewTicker(meterInterval)
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

// latest returns the last reading, and whether there is one.
func (m *meter) latest() (nvml.Reading, bool) {
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
	r, ok := t.meter.latest()
	if !ok {
		return v
	}
	v[runs.GPUBusy] = float64(r.Busy)
	for name, x := range map[string]float64{
		runs.GPUMemory: float64(r.Used), runs.GPUMemoryTotal: float64(r.Total), runs.GPUTemperature: float64(r.Temperature), runs.GPUPower: r.Power,
	} {
		if x > 0 { // 0 means unknown
			v[name] = x
		}
	}
	return v
}
