package tui

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hatchery/engine/pipeline"
	"hatchery/engine/printable"
	"hatchery/engine/quantity"
	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/watch"
)

// plain is the workbench as a dialogue of lines. It does not move the cursor, use colours
// or overwrite text, so that a screen reader can follow it.
type plain struct {
	Options
	ctx   context.Context
	lines <-chan string // lines that the user types; closed at the end of the input
	scan  *watch.Scanner
}

// runPlain runs the dialogue until the user quits. The goroutine that reads In ends after
// the next line, because a read cannot be cancelled.
func runPlain(ctx context.Context, o Options) error {
	o.Out = printable.NewWriter(o.Out)
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(o.In)
		for in.Scan() {
			select {
			case lines <- strings.TrimSpace(in.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	p := &plain{Options: o, ctx: ctx, lines: lines, scan: &watch.Scanner{Root: o.Root}}
	if o.Open != "" {
		p.follow(o.Open)
		return nil
	}
	p.menu()
	return nil
}

func (p *plain) say(format string, args ...any) { fmt.Fprintf(p.Out, format+"\n", args...) }

// ask asks a question and returns the answer. It returns false at the end of the input or
// when the context is done.
func (p *plain) ask(question string) (string, bool) {
	fmt.Fprint(p.Out, question+" > ")
	select {
	case <-p.ctx.Done():
		return "", false
	case line, ok := <-p.lines:
		return line, ok
	}
}

func (p *plain) menu() {
	for {
		answer, ok := p.ask("presets, runs, or quit?")
		if !ok {
			return
		}
		switch answer {
		case "presets", "p", "1":
			ok = p.presets()
		case "runs", "r", "2":
			ok = p.runs()
		case "quit", "q":
			return
		default:
			p.say("type presets, runs or quit")
		}
		if !ok {
			return
		}
	}
}

// choose asks for a number from 1 to n and returns the index, or -1 for none.
func (p *plain) choose(question string, n int) (int, bool) {
	answer, ok := p.ask(question + " Number, or enter to go back?")
	if !ok || answer == "" {
		return -1, ok
	}
	i, err := strconv.Atoi(answer)
	if err != nil || i < 1 || i > n {
		p.say("%s is not one of the numbers", answer)
		return -1, true
	}
	return i - 1, true
}

func (p *plain) presets() bool {
	all, err := presets.List()
	if err != nil {
		p.say("error: %v", err)
		return true
	}
	all = slices.DeleteFunc(all, func(i presets.Info) bool { return i.Abstract || i.Record })
	for i, e := range all {
		p.say("%d: %s. %s", i+1, e.Name, e.Title)
	}
	i, ok := p.choose("Which preset?", len(all))
	if i < 0 {
		return ok
	}
	return p.experiment(all[i].Name)
}

// experiment asks for changes until the user starts the experiment or goes back.
func (p *plain) experiment(name string) bool {
	var sets []string
	for {
		c, err := presets.Load(name, sets)
		if err == nil {
			err = pipeline.Validate(c)
		}
		if err != nil {
			p.say("error: %v", err)
		} else {
			p.say("%s: %d blocks in %d modules, meta depth %d, %d+%d epochs on %s", name, c.Model.Depth, c.Modules.K,
				c.Modules.MetaDepth, c.Modular.Epochs, c.Finetune.Epochs, c.Data.Name)
		}
		answer, ok := p.ask("A change such as modules.k=2, undo, cost, start, or enter to go back?")
		switch {
		case !ok:
			return false
		case answer == "":
			return true
		case answer == "undo":
			sets = sets[:max(0, len(sets)-1)]
		case err != nil && !strings.Contains(answer, "="):
			p.say("not possible with an error; undo takes back the last change")
		case answer == "cost":
			p.cost(c)
		case answer == "start":
			return p.start(c)
		case strings.Contains(answer, "="):
			sets = append(sets, answer)
		default:
			p.say("%s is not a change; type KEY=VALUE", answer)
		}
	}
}

func (p *plain) cost(c *presets.Config) {
	stages, err := pipeline.Plan(p.ctx, c, pipeline.TrainImages(c))
	if err != nil {
		p.say("error: %v", err)
		return
	}
	for _, e := range stages {
		p.say("%s: %d parameters, %d steps, %s of memory", e.Name, e.Network.Params, e.Steps, quantity.Bytes(e.Memory()))
	}
}

func (p *plain) start(c *presets.Config) bool {
	if p.Launcher == nil {
		p.say("runs cannot be started from here")
		return true
	}
	if err := p.Launcher.Check(p.ctx, c, nil); err != nil {
		p.say("not started: %v", err)
		return true
	}
	p.say("starting: waiting for the run's first event")
	dir, err := p.Launcher.Start(p.ctx, c, false)
	if err != nil {
		p.say("not started: %v", err)
		return true
	}
	if w := p.Launcher.Warning(); w != "" {
		p.say("warning: %s", w)
	}
	return p.follow(dir)
}

func (p *plain) runs() bool {
	all, err := p.scan.Scan(p.ctx, time.Now())
	if err != nil {
		p.say("error: %v", err)
		return true
	}
	for i, e := range all {
		state := e.Live.String()
		if e.Err != nil { // it cannot be used, whatever its status says
			state = "broken"
		}
		line := fmt.Sprintf("%d: %s, %s", i+1, printable.Line(e.ID), printable.Line(state))
		if v, ok := e.Top1(); ok {
			line += fmt.Sprintf(", top-1 %.2f percent", v)
		}
		p.say("%s", line)
	}
	if len(all) == 0 {
		if _, err := os.Stat(p.scan.Root); errors.Is(err, fs.ErrNotExist) {
			p.say("there is no folder %s: no run was started there yet, or the folder was moved or deleted", p.scan.Root)
		} else {
			p.say("no runs yet")
		}
		return true
	}
	i, ok := p.choose("Which run?", len(all))
	if i < 0 {
		return ok
	}
	return p.follow(all[i].Dir)
}

// follow prints a line for each change in a run until the run ends or the user types
// something. It returns false at the end of the input or when the context is done.
func (p *plain) follow(dir string) bool {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	p.say("%s: enter goes back; the run continues", printable.Line(filepath.Base(dir)))
	printed := map[string]string{} // last line by subject
	printChange := func(subject, text string) {
		if printed[subject] != text {
			printed[subject] = text
			p.say("%s", text)
		}
	}
	snaps := watch.Follow(ctx, dir, redrawEvery)
	lines := p.lines
	for {
		select {
		case _, ok := <-lines:
			if ok {
				return true
			}
			lines = nil // at the end of the input, show the run once
		case s, ok := <-snaps:
			switch {
			case !ok:
				return p.ctx.Err() == nil
			case s.Err != nil:
				p.say("error: %v", s.Err)
				return true
			case s.Reading:
				continue
			}
			for i := range s.State.Stages {
				if st := &s.State.Stages[i]; st.Phase != runs.Waiting || st.Step > 0 {
					printChange(st.Name, describe(st))
				}
			}
			if n := len(s.State.Warnings); n > 0 {
				printChange("warning", "warning: "+s.State.Warnings[n-1].Message)
			}
			if s.Skipped > 0 {
				printChange("skipped", fmt.Sprintf("%d unreadable event lines skipped", s.Skipped))
			}
			printChange("run", "run "+printable.Line(s.Live.String()))
			if s.Live.Alive == runs.IsFinished || s.Live.Alive == runs.IsCrashed {
				p.printEnd(dir, s)
				return lines != nil
			}
			if lines == nil {
				return false
			}
		}
	}
}

// printEnd prints the results of a run that has ended and, if it is not done, why.
func (p *plain) printEnd(dir string, s watch.Snapshot) {
	for _, r := range s.State.Results {
		line := fmt.Sprintf("result: %s, top-1 %.2f percent", printable.Line(r.Method), r.Values.Get(runs.Top1))
		if v, ok := r.Values[pipeline.Assembled]; ok {
			line += fmt.Sprintf(", assembled %.2f percent", v)
		}
		if v, ok := r.Values[pipeline.Best]; ok {
			line += fmt.Sprintf(", best %.2f percent after epoch %.0f", v, r.Values.Get(pipeline.BestEpoch))
		}
		p.say("%s", line)
	}
	why := s.Live.Status.Message
	if s.Live.Alive == runs.IsCrashed {
		why = "its process ended without an error message"
	}
	if s.Live.Status.Phase == runs.Finished {
		return
	}
	if why != "" {
		p.say("reason: %s", printable.Text(why))
	}
	p.say("to resume: hatchery resume %s", printable.Word(dir))
}

// describe returns the progress of a stage. The text changes at most once an epoch.
func describe(st *runs.StageState) string {
	text := fmt.Sprintf("%s %s", printable.Line(st.Name), st.Phase)
	if n := len(st.Points); n > 0 {
		last := st.Points[n-1]
		text += fmt.Sprintf(", epoch %d of %d", last.Epoch, st.Epochs)
		if v := last.Values.Get(runs.Loss); !math.IsNaN(v) {
			text += fmt.Sprintf(", loss %.4f", v)
		}
		if v := last.Values.Get(runs.Top1); !math.IsNaN(v) {
			text += fmt.Sprintf(", top-1 %.2f percent", v)
		}
	}
	return text
}
