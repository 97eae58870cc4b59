package limits

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// Release returns unused memory to the system and sets Go's default, which lets garbage grow
// to the size of the live heap. It is for the preparation of a stage, which creates much
// garbage.
func Release() {
	debug.FreeOSMemory()
	setPercent(100)
}

// Settle is Release for long work that creates little garbage: it limits garbage to the
// amount that Garbage returns. Otherwise a large heap could slowly grow to twice its size.
func Settle() {
	debug.FreeOSMemory()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(live); live[0].Value.Kind() == metrics.KindUint64 {
		setPercent(percent(int64(live[0].Value.Uint64())))
	}
}

func setPercent(p int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(p)
	}
}

// Garbage returns the largest amount of garbage in bytes after Settle, for a live heap of
// the given size in bytes.
func Garbage(heap int64) int64 { return heap * int64(percent(heap)) / 100 }

// percent returns the GOGC for a live heap of the given size in bytes. A collection takes
// about a millisecond, more if there are many pointers. It is worthwhile for every 8 MiB of
// garbage in a small heap, or a twentieth of a large heap.
func percent(heap int64) int {
	const least, most, enough = 5, 100, 8 << 20
	return int(min(max(100*enough/max(heap, 1), least), most))
}
