package tui

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hatchery/engine/runs"
	"hatchery/tui/picture"
)

//go:generate go test -run ^TestPicture$ . -update

// TestPicture compares the image in README.md with the present output of the dashboard,
// for a real run while its modules are being trained. Its host and process are invented.
// testdata/picture has no checkpoints and only the last step, because the dashboard does
// not show the others.
func TestPicture(t *testing.T) {
	const (
		id            = "quickstart-20261128-023036-5gv2"
		width, height = 104, 36 // cells; narrow, so that the text is legible on a page
	)
	started := time.Date(2026, 11, 28, 2, 30, 36, 0, time.UTC)

	t.Chdir(t.TempDir())
	dir := filepath.Join("runs", id)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(testdata, "picture"))); err != nil {
		t.Fatal(err)
	}
	status, err := json.Marshal(runs.Status{
		Phase: runs.Running, Stage: "module-1", PID: 4242, Host: "lab-7",
		Started: started, Heartbeat: started.AddDate(1000, 0, 0), // in the future, so that the run counts as running
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "status.json"), status, 0o600); err != nil {
		t.Fatal(err)
	}
	d := drive(t, Options{Root: "runs", Env: []string{"LANG=C.UTF-8"}, Launcher: &launcher{}, Open: dir}, width, height)
	d.until("left", "images/s", "data     fashion") // all events and the configuration are read
	d.press("+")                                    // show the latest epochs, in which the curves are close together
	svg := picture.SVG(d.a.screen(), "The dashboard of hatchery",
		"A run in a terminal. A table has a row for each stage: end-to-end training and the meta model are done, "+
			"four modules are being trained, assembling and fine-tuning are waiting. Below are the modules' accuracy curves, "+
			"and next to them the state of the run and its results so far.")
	compare(t, filepath.Join("..", "picture", "running.svg"), svg)
}
