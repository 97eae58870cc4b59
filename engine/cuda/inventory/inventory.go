// Package inventory says what a machine has for training on NVIDIA GPUs, and
// what is missing: for people, who are told how to mend it. It answers in
// binaries without GPU support too, which say so.
package inventory

// Report is what was found. Where something has an error, it is missing, and
// the error says what to do.
type Report struct {
	Driver Found // NVIDIA's driver
	Cards  []Card
	CuBLAS Found
	NVML   Found // which reads how busy and warm a card is; training goes without
}

// Found is a library: its version and where it is, or why it is not there.
type Found struct {
	Version string // NVML's is that of the driver
	Path    string // the file that was opened
	Err     error
}

// Card is a GPU.
type Card struct {
	Name            string
	Major, Minor    int   // compute capability
	Multiprocessors int   //
	Memory, L2      int64 // bytes
	PCI             string
	Err             error // why hatchery cannot use it

	// From NVML; Watched says whether it answered.
	Watched     bool
	Used        int64   // bytes of memory
	Busy        int     // percent
	Temperature int     // °C
	Power       float64 // W
}
