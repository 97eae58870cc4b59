//go:build !linux

package limits

// The limits on memory, processor time and disk space are not known here.

func memories() []Memory { return nil }

func machineMemory() int64 { return 0 }

// Quota returns the limit on processor time, and false if there is none.
func Quota() (Processors, bool) { return Processors{}, false }

func availableDisk(string) int64 { return 0 }
