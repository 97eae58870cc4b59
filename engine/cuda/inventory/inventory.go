// Package inventory reports what a machine has for training on NVIDIA GPUs, what is missing,
// and what to do about it. In binaries without GPU support it reports that.
package inventory

// Report is the result of Look. A component with an error is missing or unusable; the error
// says what to do.
type Report struct {
	Driver Found // NVIDIA's driver
	Cards  []Card
	CuBLAS Found
	NVML   Found // for readings of cards; training does not need it
}

// Found describes a library: its version and file, or why it was not found.
type Found struct {
	Version string // for NVML, that of the driver
	Path    string // the file that was opened
	Err     error
}

// Card is a GPU.
type Card struct {
	Name            string
	Major, Minor    int // compute capability
	Multiprocessors int
	Memory, L2      int64 // bytes
	PCI             string
	Err             error // why hatchery cannot use it

	// From NVML; valid if Watched is set.
	Watched     bool
	Used        int64   // bytes of memory
	Busy        int     // percent
	Temperature int     // °C
	Power       float64 // W
}
