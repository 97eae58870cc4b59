package runs

import (
	"cmp"
	"slices"
)

// Device is a GPU on which stages run.
type Device struct {
	Host   string // set if its stages have their own processes
	Number int
	Stages []string
	Values Values // the latest known values, such as GPUBusy and GPUMemory
}

// Devices returns the GPUs on which stages run, sorted by host and number. The list is
// empty if the run is paused or uses the CPU.
func (s *State) Devices() []Device {
	if s.Phase != Running {
		return nil
	}
	var all []Device
	for i := range s.Stages {
		st := &s.Stages[i]
		number, ok := st.Last[GPU]
		if !ok || st.Phase != Running {
			continue
		}
		same := func(d Device) bool { return d.Host == st.Host && d.Number == int(number) }
		k := slices.IndexFunc(all, same)
		if k < 0 {
			k = len(all)
			all = append(all, Device{Host: st.Host, Number: int(number)})
		}
		all[k].Stages = append(all[k].Stages, st.Name)
		all[k].Values = st.Last
	}
	slices.SortStableFunc(all, func(a, b Device) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Number, b.Number))
	})
	return all
}
