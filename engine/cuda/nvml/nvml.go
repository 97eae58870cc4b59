// Package nvml reads the use, memory and temperature of a GPU through NVIDIA's management
// library, which it opens at run time. Without the tag gpu its functions return an error.
package nvml

// Reading is the state of a card. Values that the card does not report are 0.
type Reading struct {
	Busy        int     // percent of the last sampling period in which a kernel ran
	MemoryBusy  int     // percent of that period in which memory was read or written
	Used, Total int64   // bytes of memory
	Temperature int     // °C
	Power       float64 // W
	PowerLimit  float64 // W
}
