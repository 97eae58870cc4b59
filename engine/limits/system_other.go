//go:build !linux

package limits

// The limits on memory, CPU time and disk space are unknown on this system.

func memories() []Memory { return nil }

func machineMemory() int64 { return 0 }

// Quota returns the CPU quota, and false if there is none.
func Quota() (CPUQuota, bool) { return CPUQuota{}, false }

func availableDisk(string) int64 { return 0 }
