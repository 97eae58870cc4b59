package pages

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"hatchery/engine/printable"
	"hatchery/engine/runs"
	"hatchery/tui/components"
	"hatchery/tui/keymap"
)

// Log shows the end of a run's log and follows it.
type Log struct {
	env    *Env
	path   string
	w, h   int
	lines  []string
	rest   string // of a line whose end is not written yet
	at     int64  // where to read on
	top    int    // first line in view, when not following
	follow bool
	wrap   bool
	level  int
	search *components.Input
	err    error
	closed bool

	version int // of the lines
	drawn   struct {
		key  logKey
		rows []string
	}
}

// logKey is all that the rows depend on.
type logKey struct {
	version, width, level int
	wrap                  bool
}

// levels hide the lines below them.
var levels = []struct {
	name  string
	words []string
}{
	{"all lines", nil},
	{"warnings and errors", []string{"warn", "error", "fail", "panic", "fatal"}},
	{"errors", []string{"error", "fail", "panic", "fatal"}},
}

var logKeys = keymap.Table[*Log]{
	{Name: "log.follow", Keys: []string{"f"}, Help: "follow / freeze", Short: true, Do: func(p *Log) tea.Cmd { p.freeze(!p.follow); return nil }},
	{Name: "log.search", Keys: []string{"/"}, Help: "search", Short: true, Do: func(p *Log) tea.Cmd { p.search.Start(p.search.Text()); return nil }},
	{Name: "log.next", Keys: []string{"n"}, Help: "next found", Short: true, Do: func(p *Log) tea.Cmd { return p.find(1) }},
	{Name: "log.before", Keys: []string{"N"}, Help: "found before", Do: func(p *Log) tea.Cmd { return p.find(-1) }},
	{Name: "log.level", Keys: []string{"e"}, Help: "all / warnings / errors", Short: true, Do: func(p *Log) tea.Cmd { p.level = (p.level + 1) % len(levels); return nil }},
	{Name: "log.wrap", Keys: []string{"w"}, Help: "wrap", Do: func(p *Log) tea.Cmd { p.wrap = !p.wrap; return nil }},
	{Name: "log.up", Keys: []string{"up", "k"}, Help: "up", Do: func(p *Log) tea.Cmd { p.scroll(-1); return nil }},
	{Name: "log.down", Keys: []string{"down", "j"}, Help: "down", Do: func(p *Log) tea.Cmd { p.scroll(1); return nil }},
	{Name: "log.pageup", Keys: []string{"pgup", "b"}, Help: "page up", Do: func(p *Log) tea.Cmd { p.scroll(-p.inside()); return nil }},
	{Name: "log.pagedown", Keys: []string{"pgdown", "space"}, Help: "page down", Do: func(p *Log) tea.Cmd { p.scroll(p.inside()); return nil }},
	{Name: "log.top", Keys: []string{"home", "g"}, Help: "first line", Do: func(p *Log) tea.Cmd { p.freeze(true); p.follow = false; p.top = 0; return nil }},
	{Name: "log.bottom", Keys: []string{"end", "G"}, Help: "last line, and follow", Do: func(p *Log) tea.Cmd { p.follow = true; return nil }},
}

// NewLog shows a log of a run.
func NewLog(env *Env, path string) *Log {
	return &Log{env: env, path: path, follow: true, wrap: true, at: -1, version: 1, search: components.NewInput("search")}
}

const (
	logBytes = 1 << 20 // of the end of a log are read at first
	logLines = 1 << 15 // are kept
	logEvery = time.Second
)

type logMsg struct {
	owner *Log
	text  string
	at    int64
	fresh bool // the file was cut or replaced: begin anew
	err   error
}

// Init reads the end of the log.
func (p *Log) Init() tea.Cmd { return p.read() }

// read reads what is new.
func (p *Log) read() tea.Cmd {
	path, from := p.path, p.at
	return func() tea.Msg {
		m := logMsg{owner: p, at: from}
		f, err := runs.OpenFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return m
		}
		if err != nil {
			m.err = err
			return m
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			m.err = err
			return m
		}
		size := info.Size()
		if from < 0 || size < from {
			m.fresh = true
			m.at = max(0, size-logBytes)
		}
		text, err := io.ReadAll(io.NewSectionReader(f, m.at, min(size-m.at, logBytes)))
		if m.fresh && m.at > 0 { // the rest of a line
			if i := bytes.IndexByte(text, '\n'); i >= 0 {
				m.at += int64(i + 1)
				text = text[i+1:]
			}
		}
		m.text, m.err = string(text), err
		m.at += int64(len(text))
		return m
	}
}

type logTick struct{ owner *Log }

// Update takes what was read.
func (p *Log) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case logMsg:
		if msg.owner != p || p.closed {
			return nil
		}
		if p.err = msg.err; p.err != nil {
			return nil
		}
		if msg.fresh {
			p.lines, p.rest = nil, ""
		}
		if msg.fresh || msg.text != "" {
			p.version++
		}
		p.at = msg.at
		lines := strings.Split(p.rest+msg.text, "\n")
		p.rest = lines[len(lines)-1]
		for _, l := range lines[:len(lines)-1] {
			p.lines = append(p.lines, clean(l))
		}
		if n := len(p.lines) - logLines; n > 0 {
			p.lines = append([]string{}, p.lines[n:]...)
			p.top = max(0, p.top-n)
		}
		return tea.Tick(logEvery, func(time.Time) tea.Msg { return logTick{p} })
	case logTick:
		if msg.owner == p && !p.closed {
			return p.read()
		}
	case tea.PasteMsg:
		p.search.Paste(msg)
	}
	return nil
}

// clean removes terminal control sequences from a line, and escapes other unsafe
// characters.
func clean(line string) string {
	if i := strings.LastIndexByte(strings.TrimSuffix(line, "\r"), '\r'); i >= 0 {
		line = line[i+1:] // what a bar was overwritten with
	}
	return printable.Line(strings.ReplaceAll(ansi.Strip(strings.TrimSuffix(line, "\r")), "\t", " "))
}

// Close ends the following.
func (p *Log) Close() { p.closed = true }

func (p *Log) inside() int {
	_, h := components.Inside(p.w, p.h)
	return max(1, h)
}

// rows are the lines as they are shown: of the level, wrapped or cut. A log is
// long, so they are kept until something changes.
func (p *Log) rows() []string {
	w, _ := components.Inside(p.w, p.h)
	key := logKey{p.version, w, p.level, p.wrap}
	if p.drawn.key == key {
		return p.drawn.rows
	}
	var rows []string
	for _, l := range append(slices.Clip(p.lines), p.rest) {
		if l == "" || !p.ofLevel(l) {
			continue
		}
		if p.wrap {
			rows = append(rows, components.Wrap(l, w)...)
		} else {
			rows = append(rows, components.Cut(p.env.Theme, l, w))
		}
	}
	p.drawn.key, p.drawn.rows = key, rows
	return rows
}

func (p *Log) ofLevel(line string) bool {
	words := levels[p.level].words
	if words == nil {
		return true
	}
	line = strings.ToLower(line)
	for _, w := range words {
		if strings.Contains(line, w) {
			return true
		}
	}
	return false
}

// freeze stays where it is, or follows again.
func (p *Log) freeze(follow bool) {
	if p.follow && !follow {
		p.top = max(0, len(p.rows())-p.inside())
	}
	p.follow = follow
}

func (p *Log) scroll(n int) {
	p.freeze(false)
	most := max(0, len(p.rows())-p.inside())
	p.top = max(0, min(p.top+n, most))
	p.follow = n > 0 && p.top == most
}

// find brings the next line with the searched text into view.
func (p *Log) find(by int) tea.Cmd {
	text := strings.ToLower(p.search.Text())
	if text == "" {
		return nil
	}
	p.freeze(false)
	rows := p.rows()
	for i := p.top + by; i >= 0 && i < len(rows); i += by {
		if strings.Contains(strings.ToLower(rows[i]), text) {
			p.top = i
			return nil
		}
	}
	return flash("no other line has " + p.search.Text())
}

// Press does what a key does.
func (p *Log) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	if p.search.Active() {
		if entered, _ := p.search.Press(k); entered {
			p.freeze(false)
			p.top++ // so that the first line in view counts too
			cmd := p.find(-1)
			return cmd, true
		}
		return nil, true
	}
	return logKeys.Press(p, k.String())
}

// Call does the action of a name.
func (p *Log) Call(name string) (tea.Cmd, bool) { return logKeys.Call(p, name) }

// FullHelp lists the actions that are there; ShortHelp those at the bottom.
func (p *Log) FullHelp() []keymap.Entry  { return logKeys.Entries(p) }
func (p *Log) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing says that a search is being written.
func (p *Log) Typing() bool { return p.search.Active() }

// Title names the page.
func (p *Log) Title() string {
	if name, ok := strings.CutSuffix(filepath.Base(p.path), ".log"); ok {
		return name + " log" // of an attempt at a stage
	}
	return filepath.Base(filepath.Dir(p.path)) + " log"
}

// Copy is the part in view.
func (p *Log) Copy() string { return strings.Join(p.view(p.rows()), "\n") }

// SetSize takes the size of the body.
func (p *Log) SetSize(w, h int) { p.w, p.h = w, h }

func (p *Log) view(rows []string) []string {
	top := p.top
	if p.follow {
		top = max(0, len(rows)-p.inside())
	}
	top = min(top, max(0, len(rows)-1))
	return rows[min(top, len(rows)):min(len(rows), top+p.inside())]
}

// View draws the lines.
func (p *Log) View() string {
	t := p.env.Theme
	rows := p.rows()
	state := "following"
	if !p.follow {
		state = fmt.Sprintf("frozen at line %d of %d", p.top+1, len(rows))
	}
	title := "log, " + levels[p.level].name + ", " + state
	if p.search.Active() || p.search.Text() != "" {
		title += "  search " + p.search.View(t)
	}
	var lines []string
	for _, l := range p.view(rows) {
		low := strings.ToLower(l)
		switch {
		case p.search.Text() != "" && strings.Contains(low, strings.ToLower(p.search.Text())):
			l = t.Changed.Render(l)
		case strings.Contains(low, "error") || strings.Contains(low, "panic"):
			l = t.Bad.Render(l)
		case strings.Contains(low, "warn"):
			l = t.Warn.Render(l)
		}
		lines = append(lines, l)
	}
	switch {
	case p.err != nil:
		lines = []string{t.Bad.Render(p.err.Error())}
	case len(p.lines) == 0 && p.rest == "":
		lines = []string{t.Dim.Render("the log is empty; the run's own screen says what happened")}
	case len(lines) == 0:
		lines = []string{t.Dim.Render("no " + levels[p.level].name)}
	}
	return components.Panel(t, title, strings.Join(lines, "\n"), p.w, p.h)
}
