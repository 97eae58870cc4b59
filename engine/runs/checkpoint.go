package runs

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"hatchery/engine/limits"
	"hatchery/engine/quantity"
	"hatchery/engine/runs/safetensors"
)

// Checkpoint is a snapshot of a stage: its weights, and everything else that is needed to
// resume it.
type Checkpoint struct {
	Stage   string
	Epoch   int     // completed epochs
	Partial int     // optimizer steps in the next epoch; 0 at the end of an epoch
	Step    int     // optimizer steps since the start of the stage
	Score   float64 // accuracy that decides which checkpoint is the best; NaN means not evaluated

	Metadata map[string]string // the keys below and those of Identity are reserved
	Identity *Identity         // nil if an older version wrote the checkpoint
	Tensors  []safetensors.Tensor

	// Weights is a digest of the weights that later stages read. FinishStage writes it
	// into the Outcome. Save does not write it.
	Weights string

	Path   string // set by loading and saving
	SHA256 string // the seal of the file, set by loading and saving
}

// Metadata keys of a checkpoint file.
const (
	metaStage   = "stage"
	metaEpoch   = "epoch"
	metaPartial = "partial"
	metaStep    = "step"
	metaScore   = "score"
)

const (
	keepLast = 2 // number of latest checkpoints of a stage that are kept besides the best
	doneName = "done"

	tempCheckpoint = "checkpoint" // see tempName
	tempBest       = "best"
	tempTuning     = "autotune"
)

// tempName returns the name of a file that is renamed once it is complete. Each attempt
// uses its own name, because an earlier attempt that seemed dead may still be writing.
func tempName(base string, attempt int) string {
	if attempt == 0 {
		return base + ".tmp"
	}
	return fmt.Sprintf("%s.a%d.tmp", base, attempt)
}

// ErrNoCheckpoint means that a stage has no usable checkpoint.
var ErrNoCheckpoint = errors.New("no usable checkpoint")

// Tensor returns the tensor with the given name.
func (c *Checkpoint) Tensor(name string) (safetensors.Tensor, bool) {
	f := safetensors.File{Tensors: c.Tensors}
	return f.Tensor(name)
}

// position identifies a checkpoint of a stage and orders the checkpoints. attempt is that
// of a process that executed the stage alone; 0 is a process that executed the whole run.
type position struct{ epoch, partial, attempt int }

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.epoch, q.epoch), cmp.Compare(p.partial, q.partial), cmp.Compare(p.attempt, q.attempt))
}

// withoutAttempt returns p with attempt 0. The weights do not depend on the attempt.
func (p position) withoutAttempt() position { return position{p.epoch, p.partial, 0} }

// fileName returns "checkpoint-3.safetensors" after epoch 3, "checkpoint-3-40.safetensors"
// 40 steps later, and "checkpoint-3-40.a2.safetensors" if the second attempt wrote it.
func (p position) fileName() string {
	name := fmt.Sprintf("checkpoint-%d", p.epoch)
	if p.partial > 0 {
		name += fmt.Sprintf("-%d", p.partial)
	}
	if p.attempt > 0 {
		name += fmt.Sprintf(".a%d", p.attempt)
	}
	return name + ".safetensors"
}

func parsePosition(name string) (p position, ok bool) {
	text, ok := strings.CutPrefix(name, "checkpoint-")
	if !ok {
		return p, false
	}
	text, _ = strings.CutSuffix(text, ".safetensors")
	text, attempt, _ := strings.Cut(text, ".a")
	epoch, partial, _ := strings.Cut(text, "-")
	p.epoch, _ = strconv.Atoi(epoch)
	p.partial, _ = strconv.Atoi(partial)
	p.attempt, _ = strconv.Atoi(attempt)
	return p, p.epoch >= 0 && p.partial >= 0 && p.attempt >= 0 && p.fileName() == name
}

// positions returns the positions of the checkpoints in a stage's folder, earliest first.
func positions(dir string) ([]position, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ps []position
	for _, e := range entries {
		if p, ok := parsePosition(e.Name()); ok {
			ps = append(ps, p)
		}
	}
	slices.SortFunc(ps, position.compare)
	return ps, nil
}

// StageDir returns the folder with the checkpoints of a stage of the run in dir.
func StageDir(dir, stage string) string { return stageDir(dir, stage) }

func stageDir(dir, stage string) string { return filepath.Join(dir, stagesDir, stage) }

// Save writes a checkpoint. After a kill or a power failure at any moment, the stage has
// either this checkpoint or the previous one. Save then emits "checkpoint", makes the file
// the best one if its score is the highest so far, and deletes all but the last two
// checkpoints. It sets c.SHA256 and c.Path. The error wraps ErrSuperseded if another
// attempt has the stage.
func (r *Run) Save(c *Checkpoint) error {
	if err := r.save(c); err != nil {
		return fmt.Errorf("runs: checkpoint of %s at epoch %d, step %d: %w", c.Stage, c.Epoch, c.Step, err)
	}
	return nil
}

func (r *Run) save(c *Checkpoint) error {
	if err := checkName("stage", c.Stage); err != nil {
		return err
	}
	if r.stage != "" && c.Stage != r.stage {
		return fmt.Errorf("this process executes only stage %s", r.stage)
	}
	if c.Epoch < 0 || c.Partial < 0 || c.Step < 0 {
		return errors.New("epoch, partial and step must not be negative")
	}
	dir := stageDir(r.dir, c.Stage)
	if err := r.makeStageDir(dir); err != nil {
		return err
	}
	// The curves must survive a power failure if the weights do.
	if err := r.events.sync(); err != nil {
		return err
	}
	pos := position{c.Epoch, c.Partial, r.attempt}
	path := filepath.Join(dir, pos.fileName())
	seal, err := r.writeCheckpoint(dir, path, c)
	if err != nil {
		return err
	}
	c.SHA256, c.Path = seal, path
	err = r.Emit(Event{
		Kind: Saved, Stage: c.Stage, Epoch: c.Epoch, Step: c.Step,
		File: filepath.ToSlash(filepath.Join(stagesDir, c.Stage, pos.fileName())),
	})
	if err != nil {
		return err
	}
	if r.stage != "" && pos.withoutAttempt().compare(r.resumedFrom) > 0 {
		if err := r.setStatus(func(s *Status) { s.Advanced = true }); err != nil {
			return err
		}
	}
	if err := r.superseded(); err != nil {
		return err
	}
	if r.displaced() {
		return nil // the process that resumes the run does the rest
	}
	if err := r.updateBest(c); err != nil {
		return fmt.Errorf("best: %w", err)
	}
	return r.prune(dir, pos)
}

func (r *Run) makeStageDir(dir string) error {
	if err := r.superseded(); err != nil {
		return err
	}
	if r.osDisk().exists(dir) {
		return nil
	}
	if err := r.disk.makeDirs(dir); err != nil {
		return err
	}
	for _, d := range []string{filepath.Dir(dir), r.dir} {
		if err := r.disk.syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// writeCheckpoint writes a checkpoint to path atomically and durably.
func (r *Run) writeCheckpoint(dir, path string, c *Checkpoint) (seal string, err error) {
	meta := maps.Clone(c.Metadata)
	if meta == nil {
		meta = map[string]string{}
	}
	reserved := map[string]string{
		metaStage:   c.Stage,
		metaEpoch:   strconv.Itoa(c.Epoch),
		metaPartial: strconv.Itoa(c.Partial),
		metaStep:    strconv.Itoa(c.Step),
		metaScore:   strconv.FormatFloat(c.Score, 'g', -1, 64),
	}
	if c.Identity != nil {
		id, err := c.Identity.metadata()
		if err != nil {
			return "", err
		}
		maps.Copy(reserved, id)
	}
	for key, value := range reserved {
		if _, ok := meta[key]; ok {
			return "", fmt.Errorf("metadata key %q is reserved", key)
		}
		meta[key] = value
	}
	temp := filepath.Join(dir, tempName(tempCheckpoint, r.attempt))
	f, err := r.disk.create(temp)
	if err != nil {
		return "", err
	}
	// Small writes are slow on network file systems.
	w := bufio.NewWriterSize(f, 1<<20)
	seal, err = safetensors.Write(w, c.Tensors, meta)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = r.superseded()
	}
	if err == nil {
		err = r.disk.rename(temp, path)
	}
	if err != nil {
		return "", errors.Join(err, r.disk.remove(temp))
	}
	return seal, r.disk.syncDir(dir)
}

// prune deletes all checkpoints except the latest one, just saved, and its predecessors up
// to keepLast. Checkpoints after it are left from training that was abandoned; those of
// other attempts are kept, because their processes may still be running.
func (r *Run) prune(dir string, latest position) error {
	ps, err := positions(dir)
	if err != nil {
		return err
	}
	i, _ := slices.BinarySearchFunc(ps, latest, position.compare)
	for j, p := range ps {
		if j > i && p.attempt == r.attempt || j <= i-keepLast {
			if err := r.disk.remove(filepath.Join(dir, p.fileName())); err != nil {
				return err
			}
		}
	}
	return nil
}

// LoadLatest loads the latest usable checkpoint of a stage of the run in dir. It skips
// corrupt checkpoints, with a warning that names the file. If no checkpoint is usable, the
// error wraps ErrNoCheckpoint.
func LoadLatest(dir, stage string) (c *Checkpoint, warnings []string, err error) {
	ps, err := positions(stageDir(dir, stage))
	if err != nil {
		return nil, nil, fmt.Errorf("runs: %w", err)
	}
	for _, p := range slices.Backward(ps) {
		c, err := loadPosition(dir, stage, p)
		if err == nil {
			return c, warnings, nil
		}
		warnings = append(warnings, fmt.Sprintf("cannot use a checkpoint; trying the previous one: %v", err))
	}
	return nil, warnings, fmt.Errorf("runs: %s: %w", stageDir(dir, stage), ErrNoCheckpoint)
}

// LatestHeader reads the latest readable checkpoint of a stage of the run in dir, without
// its tensors and without verifying its seal. It returns nil if there is none.
func LatestHeader(dir, stage string) (*Checkpoint, error) {
	ps, err := positions(stageDir(dir, stage))
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	for _, p := range slices.Backward(ps) {
		if c, err := loadHeader(filepath.Join(stageDir(dir, stage), p.fileName())); err == nil && c.Stage == stage {
			return c, nil
		}
	}
	return nil, nil
}

// loadPosition loads the checkpoint of a stage at a position.
func loadPosition(dir, stage string, p position) (*Checkpoint, error) {
	path := filepath.Join(stageDir(dir, stage), p.fileName())
	c, err := LoadCheckpoint(path)
	if err == nil && (c.Stage != stage || position{c.Epoch, c.Partial, 0} != p.withoutAttempt()) {
		return nil, fmt.Errorf("runs: %s: the file holds stage %s at epoch %d", path, c.Stage, c.Epoch)
	}
	return c, err
}

// LoadCheckpoint reads and verifies one checkpoint file.
func LoadCheckpoint(path string) (*Checkpoint, error) {
	return readCheckpoint(path, safetensors.Read)
}

// loadHeader reads a checkpoint without its tensors and without verifying its seal.
func loadHeader(path string) (*Checkpoint, error) {
	return readCheckpoint(path, safetensors.ReadHeader)
}

func readCheckpoint(path string, read func(r io.Reader, size int64) (*safetensors.File, error)) (*Checkpoint, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	if size, ceiling := info.Size(), limits.Ceiling(); size > ceiling { // damaged or sparse
		return nil, fmt.Errorf("runs: %s: the file has %s, but this process can have only %s of memory: the file is damaged, or loading it needs a machine with more memory",
			path, quantity.Bytes(size), quantity.Bytes(ceiling))
	}
	file, err := read(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("runs: %s: %w", path, err)
	}
	if file.SHA256 == "" {
		return nil, fmt.Errorf("runs: %s: not a checkpoint of hatchery: it has no seal", path)
	}
	c := &Checkpoint{Stage: file.Metadata[metaStage], Metadata: file.Metadata, Tensors: file.Tensors, Path: path, SHA256: file.SHA256}
	for key, into := range map[string]*int{metaEpoch: &c.Epoch, metaPartial: &c.Partial, metaStep: &c.Step} {
		if *into, err = strconv.Atoi(file.Metadata[key]); err != nil {
			return nil, fmt.Errorf("runs: %s: metadata %s: %w", path, key, err)
		}
		delete(file.Metadata, key)
	}
	if c.Score, err = strconv.ParseFloat(file.Metadata[metaScore], 64); err != nil {
		return nil, fmt.Errorf("runs: %s: metadata %s: %w", path, metaScore, err)
	}
	delete(file.Metadata, metaScore)
	delete(file.Metadata, metaStage)
	if c.Identity, err = takeIdentity(file.Metadata); err != nil {
		return nil, fmt.Errorf("runs: %s: %w", path, err)
	}
	return c, nil
}
