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
	rest   string // last line, if it is incomplete
	offset int64  // from which to continue reading; -1 at first
	top    int    // first visible row, if not following
	follow bool
	wrap   bool
	level  int
	search *components.Input
	err    error
	closed bool

	version int // of lines and rest; see rows
	drawn   struct {
		key  logKey
		rows []string
	}
}

// logKey is everything that the rows depend on.
type logKey struct {
	version, width, level int
	wrap                  bool
}

// levels are the filters of lines. A line passes if it has one of the words.
var levels = []struct {
	name  string
	words []string
}{
	{"all lines", nil},
	{"warnings and errors", []string{"warn", "error", "fail", "panic", "fatal"}},
	{"errors", []string{"error", "fail", "panic", "fatal"}},
}

var logKeys = keymap.Table[*Log]{
	{Name: "log.follow", Keys: []string{"f"}, Help: "follow / freeze", Short: true, Do: func(p *Log) tea.Cmd { p.setFollow(!p.follow); return nil }},
	{Name: "log.search", Keys: []string{"/"}, Help: "search", Short: true, Do: func(p *Log) tea.Cmd { p.search.Start(p.search.Text()); return nil }},
	{Name: "log.next", Keys: []string{"n"}, Help: "next match", Short: true, Do: func(p *Log) tea.Cmd { return p.find(1) }},
	{Name: "log.before", Keys: []string{"N"}, Help: "previous match", Do: func(p *Log) tea.Cmd { return p.find(-1) }},
	{Name: "log.level", Keys: []string{"e"}, Help: "all / warnings / errors", Short: true, Do: func(p *Log) tea.Cmd { p.level = (p.level + 1) % len(levels); return nil }},
	{Name: "log.wrap", Keys: []string{"w"}, Help: "wrap", Do: func(p *Log) tea.Cmd { p.wrap = !p.wrap; return nil }},
	{Name: "log.up", Keys: []string{"up", "k"}, Help: "up", Do: func(p *Log) tea.Cmd { p.scroll(-1); return nil }},
	{Name: "log.down", Keys: []string{"down", "j"}, Help: "down", Do: func(p *Log) tea.Cmd { p.scroll(1); return nil }},
	{Name: "log.pageup", Keys: []string{"pgup", "b"}, Help: "page up", Do: func(p *Log) tea.Cmd { p.scroll(-p.inside()); return nil }},
	{Name: "log.pagedown", Keys: []string{"pgdown", "space"}, Help: "page down", Do: func(p *Log) tea.Cmd { p.scroll(p.inside()); return nil }},
	{Name: "log.top", Keys: []string{"home", "g"}, Help: "first line", Do: func(p *Log) tea.Cmd { p.setFollow(true); p.follow = false; p.top = 0; return nil }},
	{Name: "log.bottom", Keys: []string{"end", "G"}, Help: "last line, and follow", Do: func(p *Log) tea.Cmd { p.follow = true; return nil }},
}

// NewLog returns a page that shows a log of a run.
func NewLog(env *Env, path string) *Log {
	return &Log{env: env, path: path, follow: true, wrap: true, offset: -1, version: 1, search: components.NewInput("search")}
}

const (
	logBytes = 1 << 20 // at first, only this much of the end of the log is read
	logLines = 1 << 15 // number of lines that are kept
	logEvery = time.Second
)

type logMsg struct {
	owner  *Log
	text   string
	offset int64 // after text
	reset  bool  // first read, or the file was truncated or replaced
	err    error
}

// Init reads the end of the log.
func (p *Log) Init() tea.Cmd { return p.read() }

// read reads the part of the log that is new.
func (p *Log) read() tea.Cmd {
	path, offset := p.path, p.offset
	return func() tea.Msg {
		m := logMsg{owner: p, offset: offset}
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
		if offset < 0 || size < offset {
			m.reset = true
			m.offset = max(0, size-logBytes)
		}
		text, err := io.ReadAll(io.NewSectionReader(f, m.offset, min(size-m.offset, logBytes)))
		if m.reset && m.offset > 0 { // drop the end of an incomplete line
			if i := bytes.IndexByte(text, '\n'); i >= 0 {
				m.offset += int64(i + 1)
				text = text[i+1:]
			}
		}
		m.text, m.err = string(text), err
		m.offset += int64(len(text))
		return m
	}
}

type logTick struct{ owner *Log }

// Update handles the result of reading the log.
func (p *Log) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case logMsg:
		if msg.owner != p || p.closed {
			return nil
		}
		if p.err = msg.err; p.err != nil {
			return nil
		}
		if msg.reset {
			p.lines, p.rest = nil, ""
		}
		if msg.reset || msg.text != "" {
			p.version++
		}
		p.offset = msg.offset
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
		line = line[i+1:] // the last state of a progress bar
	}
	return printable.Line(strings.ReplaceAll(ansi.Strip(strings.TrimSuffix(line, "\r")), "\t", " "))
}

// Close stops following the log.
func (p *Log) Close() { p.closed = true }

func (p *Log) inside() int {
	_, h := components.InnerSize(p.w, p.h)
	return max(1, h)
}

// rows returns the lines that pass the level, wrapped or cut. It caches them, because a log
// is long.
func (p *Log) rows() []string {
	w, _ := components.InnerSize(p.w, p.h)
	key := logKey{p.version, w, p.level, p.wrap}
	if p.drawn.key == key {
		return p.drawn.rows
	}
	var rows []string
	for _, l := range append(slices.Clip(p.lines), p.rest) {
		if l == "" || !p.hasLevel(l) {
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

// hasLevel reports whether a line passes the level.
func (p *Log) hasLevel(line string) bool {
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

// setFollow follows the end of the log or stays at the present lines.
func (p *Log) setFollow(follow bool) {
	if p.follow && !follow {
		p.top = max(0, len(p.rows())-p.inside())
	}
	p.follow = follow
}

func (p *Log) scroll(n int) {
	p.setFollow(false)
	most := max(0, len(p.rows())-p.inside())
	p.top = max(0, min(p.top+n, most))
	p.follow = n > 0 && p.top == most
}

// find scrolls to the next row with the searched text, in the direction of step.
func (p *Log) find(step int) tea.Cmd {
	text := strings.ToLower(p.search.Text())
	if text == "" {
		return nil
	}
	p.setFollow(false)
	rows := p.rows()
	for i := p.top + step; i >= 0 && i < len(rows); i += step {
		if strings.Contains(strings.ToLower(rows[i]), text) {
			p.top = i
			return nil
		}
	}
	return flash("no other line contains " + p.search.Text())
}

// Press handles a key.
func (p *Log) Press(k tea.KeyPressMsg) (tea.Cmd, bool) {
	if p.search.Active() {
		if accepted, _ := p.search.Press(k); accepted {
			p.setFollow(false)
			p.top++ // include the first visible row
			cmd := p.find(-1)
			return cmd, true
		}
		return nil, true
	}
	return logKeys.Press(p, k.String())
}

// Call performs the named action.
func (p *Log) Call(name string) (tea.Cmd, bool) { return logKeys.Call(p, name) }

// FullHelp returns the available actions, ShortHelp those for the bottom of the screen.
func (p *Log) FullHelp() []keymap.Entry  { return logKeys.Entries(p) }
func (p *Log) ShortHelp() []keymap.Entry { return keymap.Short(p.FullHelp()) }

// Typing reports whether the search text is being typed.
func (p *Log) Typing() bool { return p.search.Active() }

// Title returns the title of the page.
func (p *Log) Title() string {
	if name, ok := strings.CutSuffix(filepath.Base(p.path), ".log"); ok {
		return name + " log" // the log of an attempt at a stage
	}
	return filepath.Base(filepath.Dir(p.path)) + " log"
}

// Copy returns the visible rows.
func (p *Log) Copy() string { return strings.Join(p.view(p.rows()), "\n") }

// SetSize sets the size of the body.
func (p *Log) SetSize(w, h int) { p.w, p.h = w, h }

func (p *Log) view(rows []string) []string {
	top := p.top
	if p.follow {
		top = max(0, len(rows)-p.inside())
	}
	top = min(top, max(0, len(rows)-1))
	return rows[min(top, len(rows)):min(len(rows), top+p.inside())]
}

// View draws the visible rows.
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
		lines = []string{t.Dim.Render("the log is empty; the page of the run shows what happened")}
	case len(lines) == 0:
		lines = []string{t.Dim.Render("no " + levels[p.level].name)}
	}
	return components.Panel(t, title, strings.Join(lines, "\n"), p.w, p.h)
}
