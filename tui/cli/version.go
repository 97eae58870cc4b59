package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"hatchery/engine/cuda"
	"hatchery/engine/pipeline"
)

// Version returns a description of the build, for bug reports: the revision and whether it was
// modified, the version of Go, the platform, and GPU support.
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
