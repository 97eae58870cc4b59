//go:build !linux

package limits

// Memory, processor time and disk are not asked for here.

func memories() []Memory { return nil }

// Quota is the limit of processor time in the long run; false if there is none.
func Quota() (Processors, bool) { return Processors{}, false }

func availableDisk(string) int64 { return 0 }
