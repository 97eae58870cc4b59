package cli

import (
	"strings"

	"hatchery/presets"
)

// Data are the commands about data sets.
type Data struct {
	List      DataList      `cmd:"" default:"1" hidden:"" help:"List the data sets."`
	Fetch     DataFetch     `cmd:"" help:"Download a data set from its makers or a mirror; an interrupted download continues."`
	Verify    DataVerify    `cmd:"" help:"Read all of a data set: checksums, labels, every image."`
	Pack      DataPack      `cmd:"" help:"Write a data set as one file a split, which takes little or no decoding."`
	Partition DataPartition `cmd:"" help:"Write K class-balanced parts of a data set, one for the machine of each module."`
}

// expanded expands a "~" at the beginning of a path from the command line. Other paths
// stay as they were typed.
func expanded(path string) (string, error) {
	if !strings.HasPrefix(path, "~") {
		return path, nil
	}
	path, err := presets.Absolute(path, "")
	if err != nil {
		return "", badInput{err}
	}
	return path, nil
}
