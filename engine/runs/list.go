package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Summary is one run of a list.
type Summary struct {
	ID       string
	Dir      string
	State    *State   // nil if Err prevents it
	Liveness Liveness // zero if Err prevents it
	Err      error    // what is wrong with the folder
}

// List returns the runs under root, the latest first; broken ones, whose start
// is not known, at the end. Folders whose name begins with a dot are not runs.
// A root that does not exist has none.
func List(root string, now time.Time) ([]Summary, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	var all []Summary
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		all = append(all, summary(filepath.Join(root, e.Name()), now))
	}
	slices.SortStableFunc(all, func(a, b Summary) int { return b.started().Compare(a.started()) })
	return all, nil
}

func summary(dir string, now time.Time) Summary {
	s := Summary{ID: filepath.Base(dir), Dir: dir}
	_, err := os.Stat(filepath.Join(dir, configFile))
	if err != nil {
		err = fmt.Errorf("runs: %s is not a run folder: %w", dir, err)
	}
	events, eventsErr := ReadEvents(dir)
	if eventsErr == nil {
		s.State = Fold(events)
	}
	live, liveErr := ReadLiveness(dir, now)
	if liveErr == nil {
		s.Liveness = live
	}
	s.Err = errors.Join(err, eventsErr, liveErr)
	return s
}

// started is the first event's time, or the first process's if it came to none.
func (s Summary) started() time.Time {
	if s.State != nil && !s.State.Started.IsZero() {
		return s.State.Started
	}
	return s.Liveness.Status.Started
}
