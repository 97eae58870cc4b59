package tui

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"hatchery/engine/runs"
	"hatchery/presets"
	"hatchery/tui/pages"
)

// TestMonkey presses random keys on random screens. The screen must keep its size, and
// nothing may panic.
func TestMonkey(t *testing.T) {
	keys := strings.Fields("enter esc tab up down left right backspace space end a b c d e f g h j k l m n o p r s t u v w x y z " +
		"D E G K L N Q S 0 1 2 3 7 + - / : ? [ ] . = _ é 世 pgup")
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := studies(t)
			started := 0
			l := &launcher{studyID: "tiny-b", queue: []string{"quickstart-c"}, start: func(c *presets.Config) (string, error) {
				started++
				return record(t, dir, fmt.Sprintf("started-%d", started), nil, runs.Running, 0), nil
			}}
			d := drive(t, Options{Root: dir, Launcher: l, Env: []string{"LANG=C.UTF-8"}}, 120, 40)
			d.until("quickstart")
			r := rand.New(rand.NewPCG(seed, 1))
			w, h, last := 120, 40, []string{}
			defer func() {
				if x := recover(); x != nil {
					t.Fatalf("panic after %v: %v", last[max(0, len(last)-30):], x)
				}
			}()
			for range 700 {
				if r.IntN(20) == 0 {
					w, h = 1+r.IntN(200), 1+r.IntN(60)
					if r.IntN(3) > 0 {
						w, h = 60+r.IntN(100), 16+r.IntN(40)
					}
					d.send(tea.WindowSizeMsg{Width: w, Height: h})
				}
				k := keys[r.IntN(len(keys))]
				if r.IntN(200) == 0 {
					k = "q"
				}
				// Do not write files: that may end after the test, in another directory.
				_, compares := d.a.page().(*pages.Compare)
				_, edits := d.a.page().(*pages.Editor)
				if slices.Contains(strings.Fields("enter e E tab up down"), k) && (compares || edits && d.a.page().Typing()) {
					continue
				}
				last = append(last, k)
				d.press(k)
				for more := true; more; {
					select {
					case m := <-d.msgs:
						d.send(m)
					default:
						more = false
					}
				}
				s := ansi.Strip(d.a.screen())
				exact(t, s, w, h, false)
			}
		})
	}
}
