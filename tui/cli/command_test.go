package cli

import "testing"

// A command leaves Ctrl-C to the process that it starts.
func TestEffect(t *testing.T) {
	for _, c := range []struct {
		command Command
		want    Effect
	}{
		{&Run{}, Trains},
		{&Run{Start: Start{Detach: true}}, Acts},
		{&Run{Start: Start{Queue: true}}, Acts},
		{&Resume{}, Trains},
		{&Resume{Start: Start{Detach: true}}, Acts},
		{&Resume{Start: Start{Queue: true}}, Acts},
		{&StudyRun{}, Trains},
		{&StudyRun{StudyProcess: StudyProcess{Detach: true}}, Acts},
		{&StudyResume{}, Trains},
		{&StudyResume{StudyProcess: StudyProcess{Detach: true}}, Acts},
		{&Stage{}, Trains},
		{&Stage{Slurm: true}, TrainsAsJob},
	} {
		if got := c.command.Effect(); got != c.want {
			t.Errorf("%T%+v: effect %v, want %v", c.command, c.command, got, c.want)
		}
	}
}
