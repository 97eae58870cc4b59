package watch

import (
	"fmt"
	"strings"

	"hatchery/engine/quantity"
	"hatchery/engine/runs"
)

// DeviceName returns "gpu 0", or "gpu 0 of node3" if the host is known.
func DeviceName(d runs.Device) string {
	if d.Host != "" {
		return fmt.Sprintf("gpu %d of %s", d.Number, d.Host)
	}
	return fmt.Sprintf("gpu %d", d.Number)
}

// DeviceBrief returns the load and temperature of a GPU: "gpu 0 MFU 41 % 97 % busy 54 C".
func DeviceBrief(d runs.Device) string {
	text := DeviceName(d)
	if x, ok := d.Values[runs.MFU]; ok {
		text += " MFU " + quantity.Percent(x)
	}
	if x, ok := d.Values[runs.GPUBusy]; ok {
		text += " " + quantity.Percent(x) + " busy"
	}
	if x, ok := d.Values[runs.GPUTemperature]; ok {
		text += fmt.Sprintf(" %.0f C", x)
	}
	return text
}

// DeviceLine returns everything known about a GPU: "gpu 0: MFU 41 %, 97 % busy, 54 C,
// 412 W, 3.0 of 8.0 GiB". The least important values come last, because the line may be
// cut.
func DeviceLine(d runs.Device) string {
	v := d.Values
	parts := []string{"MFU unknown"}
	if x, ok := v[runs.MFU]; ok {
		parts[0] = fmt.Sprintf("MFU %.3g %%", x)
	} else if x, ok := v[runs.GPUProducts]; ok {
		parts[0] = quantity.Rate(x, "FLOP") + ", MFU unknown"
	}
	if x, ok := v[runs.GPUBusy]; ok {
		parts = append(parts, quantity.Percent(x)+" busy")
	}
	if x, ok := v[runs.GPUTemperature]; ok {
		parts = append(parts, fmt.Sprintf("%.0f C", x))
	}
	if x, ok := v[runs.GPUPower]; ok {
		parts = append(parts, fmt.Sprintf("%.0f W", x))
	}
	if used, ok := v[runs.GPUMemory]; ok {
		text := quantity.Bytes(int64(used))
		if total, ok := v[runs.GPUMemoryTotal]; ok {
			text = quantity.BytesOf(int64(used), int64(total))
		}
		parts = append(parts, text)
	}
	return DeviceName(d) + ": " + strings.Join(parts, ", ")
}
