//go:build !linux

package pipeline

// What only Linux is asked for.
func availableMemory() int64       { return 0 }
func availableDisk(_ string) int64 { return 0 }
