// Package nvml reads how busy, full and warm a GPU is from NVIDIA's management
// library, which is opened at run time. Without the tag gpu it has nothing to
// read.
package nvml

// Reading is the state of a card at a moment. What the card does not say is 0.
type Reading struct {
	Busy        int     // percent of the last moments in which a kernel ran
	MemoryBusy  int     // percent in which memory was read or written
	Used, Total int64   // bytes of memory
	Temperature int     // °C
	Power       float64 // W
	PowerLimit  float64 // W
}
