package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"hatchery/engine/cuda"
	"hatchery/engine/pipeline"
)

// Version is what to say in a report of a fault: which source the program was
// built from, whether that was changed, with which Go and for what.
func Version() string {
	version := pipeline.Version()
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != version {
		version = info.Main.Version + ", revision " + version
	}
	gpu := "without GPU support"
	if cuda.Built {
		gpu = "with GPU support"
	}
	return fmt.Sprintf("hatchery %s, %s %s/%s, %s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, gpu)
}
