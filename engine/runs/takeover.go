package runs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// TakeOver makes a stage of this run what it is in the finished stage of the
// run in dir: its final checkpoint and its best, its tuning, its curves and its
// outcome, whose Origin names that run. The files are linked, or copied to another file
// system; the checkpoint's seal is verified first. The stage must not have
// begun in this run.
func (r *Run) TakeOver(dir, stage string) error {
	if err := r.takeOver(dir, stage); err != nil {
		return fmt.Errorf("runs: stage %s cannot be taken over from %s: %w", stage, dir, err)
	}
	return nil
}

func (r *Run) takeOver(dir, stage string) error {
	if err := checkName("stage", stage); err != nil {
		return err
	}
	o, err := ReadOutcome(dir, stage)
	if err != nil {
		return err
	}
	final, err := LoadFinal(dir, stage)
	if err != nil {
		return err
	}
	state, err := ReadState(context.Background(), dir)
	if err != nil {
		return err
	}
	to := stageDir(r.dir, stage)
	name := filepath.Base(final.Path)
	have, err := positions(to)
	if err != nil {
		return err
	}
	for _, p := range have { // its own is left by a process that was killed in this
		if p.fileName() != name {
			return errors.New("it has begun here")
		}
	}
	if err := r.makeStageDir(to); err != nil {
		return err
	}
	from := filepath.Dir(final.Path)
	for _, name := range []string{bestName, tuningName} {
		_, err := os.Stat(filepath.Join(from, name))
		if err == nil && name == bestName {
			_, err = verify(filepath.Join(from, name), stage) // a damaged best checkpoint is not taken over
		}
		if err == nil {
			if err := r.adopt(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
				return err
			}
		}
	}
	path := filepath.Join(to, name)
	if err := r.adopt(final.Path, path); err != nil {
		return err
	}
	if err := r.disk.syncDir(to); err != nil {
		return err
	}
	if err := r.retell(state.Stage(stage), stage, o, filepath.Base(dir)); err != nil {
		return err
	}
	final.Path, final.Weights, final.Identity = path, o.Weights, o.Identity
	return r.finishStage(final, o.Values, o.origin(filepath.Base(dir)))
}

// origin is the run in which a stage was executed, given the one it is found in.
func (o *Outcome) origin(run string) string {
	if o.Origin != "" {
		return o.Origin
	}
	return run
}

// retell emits the curves of a stage of another run.
func (r *Run) retell(st *StageState, stage string, o *Outcome, from string) error {
	start := Event{Kind: StageStart, Stage: stage}
	var points []Point
	if st != nil {
		start.Method, start.Epochs, start.Steps = st.Method, st.Epochs, st.Steps
		points = st.Points
	}
	if err := r.Emit(start); err != nil {
		return err
	}
	if err := r.Emit(Event{Kind: Info, Stage: stage, Message: "taken over from run " + o.origin(from)}); err != nil {
		return err
	}
	for _, p := range points {
		e := Event{Kind: Epoch, Stage: stage, Epoch: p.Epoch, Step: p.Step, Values: p.Values}
		if _, trained := p.Values[Loss]; !trained {
			e.Kind = Eval
		}
		if err := r.Emit(e); err != nil {
			return err
		}
	}
	return nil
}

// adopt puts the file of another run at path, whole or not at all.
func (r *Run) adopt(from, path string) error {
	temp := path + ".tmp"
	if err := r.disk.remove(temp); err != nil {
		return err
	}
	if err := r.disk.link(from, temp); err != nil {
		return errors.Join(err, r.disk.remove(temp))
	}
	if err := r.disk.rename(temp, path); err != nil {
		return err
	}
	return r.disk.remove(temp) // where path was a link to the same file already, rename leaves it
}
