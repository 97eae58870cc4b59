package cli

import (
	"strings"

	"hatchery/presets"
)

// Data holds the commands on data sets.
type Data struct {
	List      DataList      `cmd:"" default:"1" hidden:"" help:"List the data sets."`
	Fetch     DataFetch     `cmd:"" help:"Download a data set from its publisher or a mirror; resumes an interrupted download."`
	Verify    DataVerify    `cmd:"" help:"Check a data set: checksums, labels and every image."`
	Pack      DataPack      `cmd:"" help:"Write a data set as one file per split, which needs little or no decoding."`
	Partition DataPartition `cmd:"" help:"Write K class-balanced parts of a data set, one for the machine of each module."`
}

// expandHome expands a "~" at the beginning of a path from the command line. It returns
// other paths unchanged.
func expandHome(path string) (string, error) {
	if !strings.HasPrefix(path, "~") {
		return path, nil
	}
	path, err := presets.Absolute(path, "")
	if err != nil {
		return "", badInput{err}
	}
	return path, nil
}
