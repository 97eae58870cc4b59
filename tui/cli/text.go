package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"hatchery/engine/method"
	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/presets"
)

// text shows a run as lines, one for each epoch. On a terminal it also shows a progress bar
// below them.
type text struct {
	out   io.Writer // a printable.Writer
	width int       // of the terminal; 0 if out is not a terminal
	id    string
	c     *presets.Config
	bar   bool // the last line is a bar

	log bool      // prefix lines with the time, and show errors, which otherwise the command reports
	now time.Time // time of the event
}

func newText(w io.Writer, id string, c *presets.Config) *text {
	return &text{out: printable.NewWriter(printable.Raw(w)), width: terminalWidth(w), id: id, c: c}
}

// newLog returns a text that writes a log file.
func newLog(w io.Writer, id string, c *presets.Config) *text {
	return &text{out: printable.NewWriter(w), id: id, c: c, log: true}
}

func (t *text) event(e runs.Event, s *runs.State) error {
	t.now = e.Time
	stage := printable.Line(e.Stage)
	switch e.Kind {
	case runs.RunStart:
		t.line("%s", titled("run "+t.id, t.c.Title))
	case runs.Submit:
		t.line("run %s: %s", t.id, e.Message)
	case runs.Attempt:
		where := e.Host
		if e.Job != "" {
			where += ", job " + e.Job
		}
		t.line("%-12s attempt %d on %s", stage, e.Attempt, printable.Line(where))
	case runs.StageStart:
		if e.Epochs > 0 {
			t.line("%-12s starts: %d epochs of %d steps", stage, e.Epochs, e.Steps/e.Epochs)
		}
	case runs.Resume:
		t.line("%-12s continues after epoch %d, step %d", stage, e.Epoch, e.Step)
	case runs.Eval:
		if st := s.Stage(e.Stage); st != nil && st.Epochs == 0 { // otherwise an Epoch event follows
			t.line("%s", epochLine(st, e.Epoch))
		}
	case runs.Epoch:
		if st := s.Stage(e.Stage); st != nil {
			t.line("%s", epochLine(st, e.Epoch))
		}
	case runs.Queue:
		t.line("run %s is waiting in the queue", t.id)
	case runs.Pause:
		t.line("%-12s is paused in epoch %d, after step %d; to continue: hatchery resume %s", stage, e.Epoch, e.Step, t.id)
	case runs.Continue:
		t.line("%-12s continues", stage)
	case runs.Info:
		t.line("%s", message(e))
	case runs.Warning:
		t.line("warning: %s", message(e))
	case runs.Error:
		t.clear()
		if t.log || e.Attempt > 0 {
			t.line("error: %s", message(e))
		}
		return nil
	case runs.Interrupted, runs.Requeued:
		t.line("%s", message(e))
		return nil
	case runs.Done:
		t.clear()
		if n := len(s.Warnings); n > 0 && s.Unrecorded() {
			t.line("warning: %s", s.Warnings[n-1].Message)
		}
		return writeResults(t.out, t.c, s)
	}
	return t.progress(s)
}

// titled returns a name followed by its title, if it has one.
func titled(name, title string) string {
	if title == "" {
		return name
	}
	return name + ": " + printable.Line(title)
}

// message returns the message of an event, after the name of its stage if it has one.
func message(e runs.Event) string {
	if e.Stage == "" {
		return e.Message
	}
	return printable.Line(e.Stage) + ": " + e.Message
}

// epochLine returns the values of a stage after an epoch.
func epochLine(st *runs.StageState, epoch int) string {
	var values runs.Values
	if n := len(st.Points); n > 0 {
		values = st.Points[n-1].Values
	}
	line := fmt.Sprintf("%-12s", printable.Line(st.Name))
	if st.Epochs > 0 {
		line += fmt.Sprintf(" epoch %*d/%d", len(fmt.Sprint(st.Epochs)), epoch, st.Epochs)
	}
	if loss, ok := values[runs.Loss]; ok {
		line += fmt.Sprintf("  loss %.4f", loss)
	}
	if loss, ok := values[runs.EvalLoss]; ok {
		line += fmt.Sprintf("  eval %.4f  top-1 %7s", loss, quantity.Accuracy(values[runs.Top1]))
	}
	if lr, ok := values[runs.LR]; ok {
		line += fmt.Sprintf("  lr %.1e", lr)
	}
	if speed, ok := st.Last[runs.Speed]; ok {
		line += fmt.Sprintf("  %.0f img/s", speed)
	}
	if mfu, ok := st.Last[runs.MFU]; ok {
		line += "  MFU " + quantity.Percent(mfu)
	}
	if busy, ok := st.Last[runs.GPUBusy]; ok {
		line += "  GPU " + quantity.Percent(busy) + " busy"
	}
	return line
}

// line writes a line above the bar.
func (t *text) line(format string, args ...any) {
	t.clear()
	if t.log {
		format = t.now.Local().Format(time.DateTime) + " " + format
	}
	fmt.Fprintf(t.out, format+"\n", args...)
}

func (t *text) clear() {
	if t.bar {
		fmt.Fprint(printable.Raw(t.out), "\r\x1b[K")
		t.bar = false
	}
}

// progress draws the bar of the running stages.
func (t *text) progress(s *runs.State) error {
	if t.width == 0 {
		return nil
	}
	var names []string
	part, running := 0.0, 0
	for i := range s.Stages {
		if st := &s.Stages[i]; st.Phase == runs.Running {
			names = append(names, st.Name)
			part += st.Progress()
			running++
		}
	}
	if running == 0 {
		return nil
	}
	name := names[0]
	if running > 1 {
		name += fmt.Sprintf(" and %d more", running-1)
	}
	part /= float64(running)
	right := fmt.Sprintf("%5s  run %5s", quantity.Percent(100*part), quantity.Percent(100*s.Progress()))
	if eta, ok := s.ETA(time.Now()); ok {
		right += "  ETA " + quantity.DurationTenths(eta.Seconds())
	}
	room := max(0, min(40, t.width-len(name)-len(right)-6))
	full := int(part * float64(room))
	bar := fmt.Sprintf("%s [%s%s] %s", printable.Line(name), strings.Repeat("#", full), strings.Repeat("-", room-full), right)
	_, err := fmt.Fprintf(printable.Raw(t.out), "\r\x1b[K%s", ansi.Truncate(bar, t.width-1, ""))
	t.bar = true
	return err
}

// writeResults writes the results of a run that is done.
func writeResults(w io.Writer, c *presets.Config, s *runs.State) error {
	var b strings.Builder
	if len(s.Results) > 0 {
		fmt.Fprintf(&b, "\n%-12s %10s %11s %16s %10s %10s\n", "method", "assembled", "fine-tuned", "best (epoch)", "training", "CPU time")
	}
	for _, r := range s.Results {
		best := quantity.Accuracy(r.Values.Get(pipeline.Best))
		if epoch, ok := r.Values[pipeline.BestEpoch]; ok {
			best += fmt.Sprintf(" (%.0f)", epoch)
		}
		fmt.Fprintf(&b, "%-12s %10s %11s %16s %10s %10s\n", printable.Line(r.Method), quantity.Accuracy(r.Values.Get(pipeline.Assembled)), quantity.Accuracy(r.Values.Get(runs.Top1)),
			best, quantity.DurationTenths(r.Values.Get(pipeline.TrainSeconds)), quantity.DurationTenths(r.Values.Get(pipeline.CPUSeconds)))
	}
	method.FillStageInfo(s, c)
	meta := "" // the stage that the gains are relative to
	for _, st := range s.Stages {
		gain, ok := st.Results[pipeline.Gain]
		if !ok {
			continue
		}
		if frozen := s.Stage(st.Inside); frozen != nil && st.Inside != meta {
			meta = st.Inside
			fmt.Fprintf(&b, "\n%-12s %10s %26s\n", "in the meta model", "top-1", "gain over the meta model")
			fmt.Fprintf(&b, "%-17s %10s\n", printable.Line(meta), quantity.Accuracy(frozen.Results.Get(runs.Top1)))
		}
		fmt.Fprintf(&b, "%-17s %10s %26s\n", printable.Line(st.Name), quantity.Accuracy(st.Results.Get(runs.Top1)), fmt.Sprintf("%+.2f", gain))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
