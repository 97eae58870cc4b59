package limits

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// Release gives the memory of what is no longer used back to the system, and
// lets the garbage grow to the size of what is used, as Go does by default: for
// preparations, which make a lot of it.
func Release() {
	debug.FreeOSMemory()
	setPercent(100)
}

// Settle is Release before long work that makes little garbage: from then on
// there is at most Garbage of it. A large heap would else be let grow to twice
// its size, by and by.
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

// Garbage is how much garbage there may be beside a heap of so many bytes after
// Settle.
func Garbage(heap int64) int64 { return heap * int64(percent(heap)) / 100 }

// percent is GOGC for a heap in use: to collect garbage takes a millisecond, more
// with more pointers, and is worth it for each 8 MiB of a small heap, or a
// twentieth of a large one.
func percent(heap int64) int {
	const least, most, enough = 5, 100, 8 << 20
	return int(min(max(100*enough/max(heap, 1), least), most))
}
