package watch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hatchery/engine/runs"
	"hatchery/presets"
)

// Entry summarizes a run.
type Entry struct {
	ID, Dir string
	Config  *presets.Config // nil if it cannot be read
	Live    runs.Liveness
	Stage   string                 // the present stage, or the last one
	Epoch   int                    // of that stage
	Results map[string]runs.Values // by method, if the run is done
	Last    runs.Values            // latest values of the stage
	Err     error
}

// Top1 returns the accuracy for a list of runs: the result of the first method that has
// one, otherwise the latest value of the stage. It returns false if there is none yet.
func (e Entry) Top1() (float64, bool) {
	if e.Config != nil {
		for _, m := range e.Config.Run.Methods {
			if v, ok := e.Results[m][runs.Top1]; ok {
				return v, true
			}
		}
	}
	v, ok := e.Last[runs.Top1]
	return v, ok
}

// Scanner lists the runs of a folder repeatedly. It reads only the status and the last
// events of a run, so that it lists many long runs quickly, and does not read
// unchanged files again.
type Scanner struct {
	Root string

	mu      sync.Mutex
	known   map[string]*knownRun   // by id
	studies map[string]*knownStudy // by id
}

// knownRun caches a run.
type knownRun struct {
	config *presets.Config
	err    error       // of reading the configuration
	size   int64       // total size of the journals when their last events were read
	state  *runs.State // from the last events only
	stage  string      // of the last event that has one
}

// tailBytes is how much of the end of a journal is read: a few hundred events.
const tailBytes = 64 << 10

// Scan returns the runs, the latest first. If ctx is done, it returns the error of ctx.
func (s *Scanner) Scan(ctx context.Context, now time.Time) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	folders, err := runs.Folders(s.Root)
	if err != nil {
		return nil, fmt.Errorf("the folder of runs cannot be read: %w", err)
	}
	known := map[string]*knownRun{}
	var all []Entry
	for _, id := range folders {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if id == runs.StudiesDir {
			continue
		}
		k, e := s.entry(id, now)
		known[e.ID] = k
		all = append(all, e)
	}
	s.known = known
	slices.SortStableFunc(all, func(a, b Entry) int {
		return cmp.Or(b.Live.Status.Started.Compare(a.Live.Status.Started), cmp.Compare(b.ID, a.ID))
	})
	return all, nil
}

func (s *Scanner) entry(id string, now time.Time) (*knownRun, Entry) {
	e := Entry{ID: id, Dir: filepath.Join(s.Root, id)}
	k := s.known[id]
	if k == nil || k.err != nil {
		k = &knownRun{size: -1}
		if _, k.err = runs.ReadConfig(e.Dir); k.err != nil {
			e.Err = k.err
			if errors.Is(k.err, fs.ErrNotExist) {
				e.Err = fmt.Errorf("this is not a run, or it is incomplete: %w", k.err)
			}
			return k, e
		}
		k.config, k.err = presets.Load(filepath.Join(e.Dir, "config.toml"), nil)
	}
	live, err := runs.ReadLiveness(e.Dir, now)
	e.Live = live
	e.Err = errors.Join(k.err, err, k.read(e.Dir))
	e.Config = k.config
	e.Stage = cmp.Or(k.stage, live.Status.Stage)
	if k.state == nil { // the journals cannot be read
		return k, e
	}
	if st := k.state.Stage(e.Stage); st != nil {
		e.Epoch, e.Last = st.Epoch, runs.Values{}
		maps.Copy(e.Last, st.Last)
		maps.Copy(e.Last, st.Results)
	}
	e.Results = map[string]runs.Values{}
	for _, r := range k.state.Results {
		e.Results[r.Method] = r.Values
	}
	return k, e
}

// read updates the state if the journals have grown.
func (k *knownRun) read(dir string) error {
	paths, err := runs.Journals(dir)
	if err != nil {
		return err
	}
	size := int64(0)
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		size += info.Size()
	}
	if size == k.size {
		return nil
	}
	var last []runs.Event
	for _, path := range paths {
		events, err := lastEvents(path)
		if err != nil {
			return err
		}
		last = append(last, events...)
	}
	if len(paths) > 1 { // the events of a single journal are in order
		slices.SortStableFunc(last, func(a, b runs.Event) int { return a.Time.Compare(b.Time) })
	}
	k.state, k.stage, k.size = runs.Fold(last), "", size
	for _, e := range last {
		k.stage = cmp.Or(e.Stage, k.stage)
	}
	return nil
}

// lastEvents reads the end of a journal.
func lastEvents(path string) ([]runs.Event, error) {
	f, err := runs.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-tailBytes)
	text, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(text, []byte("\n"))
	if from > 0 {
		lines = lines[1:] // the end of an incomplete line
	}
	var events []runs.Event
	for _, line := range lines {
		var e runs.Event
		if json.Unmarshal(line, &e) == nil {
			events = append(events, e)
		}
	}
	return events, nil
}
