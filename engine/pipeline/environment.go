package pipeline

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	"hatchery/engine/cpu/isa"
)

// environment describes the program and the machine, for the interpretation of results.
// backend is the name of the device that computes.
func environment(backend string) map[string]string {
	host, _ := os.Hostname()
	return map[string]string{
		"program": Version(),
		"host":    host,
		"system":  runtime.GOOS + "/" + runtime.GOARCH,
		"go":      runtime.Version(),
		"cores":   strconv.Itoa(runtime.GOMAXPROCS(0)),
		"vectors": isa.Current().String(),
		"device":  backend,
	}
}

// Version returns the revision of the source that the program was built from or, if that is
// unknown, the version of its module.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = ", changed"
			}
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return revision[:min(12, len(revision))] + modified
}
