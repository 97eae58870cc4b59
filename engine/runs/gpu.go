package runs

import (
	"fmt"
	"slices"
	"strings"
)

// Device is a GPU on which stages run.
type Device struct {
	Host   string // of stages that have processes of their own
	Number int
	Stages []string
	Values Values // GPUBusy and those beside it, as far as they are known
}

// Devices are the GPUs of the stages that run, by host and number; none for a
// run that is paused or on a processor.
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
		if a.Host != b.Host {
			return strings.Compare(a.Host, b.Host)
		}
		return a.Number - b.Number
	})
	return all
}

// Name is "gpu 0", or with the host "gpu 0 of node3".
func (d Device) Name() string {
	if d.Host != "" {
		return fmt.Sprintf("gpu %d of %s", d.Number, d.Host)
	}
	return fmt.Sprintf("gpu %d", d.Number)
}

// Short is how busy and warm the device is: "gpu 0 MFU 41 % 97 % busy
// 54 C".
func (d Device) Short() string {
	text := d.Name()
	if x, ok := d.Values[MFU]; ok {
		text += fmt.Sprintf(" MFU %.0f %%", x)
	}
	if x, ok := d.Values[GPUBusy]; ok {
		text += fmt.Sprintf(" %.0f %% busy", x)
	}
	if x, ok := d.Values[GPUTemperature]; ok {
		text += fmt.Sprintf(" %.0f C", x)
	}
	return text
}

// String says how the device is, for people: "gpu 0: MFU 41 %, 97 % busy,
// 54 C, 412 W, 3.0 of 8.0 GiB". What matters least comes last, where a line may
// be cut.
func (d Device) String() string {
	v := d.Values
	parts := []string{"MFU unknown"}
	if x, ok := v[MFU]; ok {
		parts[0] = fmt.Sprintf("MFU %.3g %%", x)
	} else if x, ok := v[GPUProducts]; ok {
		parts[0] = fmt.Sprintf("%.3g TFLOP/s, MFU unknown", x/1e12)
	}
	for _, p := range []struct {
		name, format string
	}{{GPUBusy, "%.0f %% busy"}, {GPUTemperature, "%.0f C"}, {GPUPower, "%.0f W"}} {
		if x, ok := v[p.name]; ok {
			parts = append(parts, fmt.Sprintf(p.format, x))
		}
	}
	const gib = 1 << 30
	if used, ok := v[GPUMemory]; ok {
		text := fmt.Sprintf("%.1f GiB", used/gib)
		if total, ok := v[GPUMemoryTotal]; ok {
			text = fmt.Sprintf("%.1f of %.1f GiB", used/gib, total/gib)
		}
		parts = append(parts, text)
	}
	return d.Name() + ": " + strings.Join(parts, ", ")
}
