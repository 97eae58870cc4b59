package pipeline

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"hatchery/datasets"
	"hatchery/engine/atomicfile"
	"hatchery/engine/runs"
)

// skippedFile is the name of the file in a run folder that lists the skipped pictures.
const skippedFile = "skipped.txt"

// reportSkipped emits a warning if the data set has skipped pictures. The warning has their
// number, how many of them only lack a decoder, the first one, and the file that lists all.
func (r *runner) reportSkipped() error {
	skipped := slices.Concat(r.train.Skipped, r.eval.Skipped)
	if len(skipped) == 0 {
		return nil
	}
	var all strings.Builder
	for _, err := range skipped {
		fmt.Fprintln(&all, err)
	}
	path := filepath.Join(r.run.Dir(), skippedFile)
	if before, err := runs.ReadFile(path); err == nil && string(before) == all.String() {
		return nil // the warning was emitted before the run was resumed
	}
	if err := atomicfile.Write(path, []byte(all.String()), 0o644); err != nil {
		return err
	}
	return r.run.Emit(runs.Event{Kind: runs.Warning, Message: fmt.Sprintf(
		"%d training and %d evaluation images cannot be decoded and are left out, %s; the first: %v; the full list: %s",
		len(r.train.Skipped), len(r.eval.Skipped), datasets.Undecodable(skipped), skipped[0], path)})
}
