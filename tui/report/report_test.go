package report

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hatchery/engine/launch"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

var update = flag.Bool("update", false, "write the golden files")

// sample returns a document with one element of each kind.
func sample() *Document {
	return &Document{
		Title: "A <b>bold</b> & \"quoted\" title", ID: "sample-1", Created: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC),
		Facts: []Fact{{"device", "cpu"}},
		Tables: []Table{{Name: "results", Caption: "All of them", Head: []string{"method", "top-1", "gain"}, Rows: []Row{
			{text("assembling"), number(77.256, 2), signed(1.5)},
			{text("e2e"), number(math.NaN(), 2), signed(-0.25)},
		}}},
		Charts: []Chart{
			{Name: "accuracy", Title: "top-1", X: "epoch", Y: "top-1, %", Lines: []Line{
				{Curve: study.Curve{Name: "meta <1>", Points: []study.Point{{X: 1, Y: 10}, {X: 2, Y: 20}, {X: 3, Y: 40}}}},
				{Curve: study.Curve{Name: "paper", Points: []study.Point{{X: 0, Y: 30}}, Level: true}, Paper: true},
			}},
			{Name: "nothing", Title: "a chart without lines"},
		},
		Notes: []string{"The paper says <less>."}, Errors: []string{"a warning"}, Config: "seed = 1\ntitle = \"</pre>\"\n",
	}
}

func TestGolden(t *testing.T) {
	var b bytes.Buffer
	if err := sample().HTML(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "sample.html")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the page differs from %s; look at it and run: go test ./tui/report -update\n%s", path, b.String())
	}
}

// remote matches everything that would make a browser request something else.
var remote = regexp.MustCompile(`(?i)https?://|src=|<script|<link|@import|url\(|<iframe`)

// check checks that a page is well-formed and does not refer to anything outside.
func check(t *testing.T, page []byte) {
	t.Helper()
	if m := remote.Find(page); m != nil {
		t.Errorf("the page refers to something outside: %s", m)
	}
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict = false
	d.AutoClose = xml.HTMLAutoClose
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
	}
}

func TestSample(t *testing.T) {
	var b bytes.Buffer
	if err := sample().HTML(&b); err != nil {
		t.Fatal(err)
	}
	check(t, b.Bytes())
	for _, want := range []string{"&lt;b&gt;bold", "<title>meta &lt;1&gt;</title>", "77.26", "&#43;1.50", "-0.25", "–", "&lt;/pre&gt;", "&lt;less&gt;"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(b.String(), "a chart without lines") {
		t.Error("a chart without lines is shown")
	}
	dir := filepath.Join(t.TempDir(), "csv")
	if _, err := sample().CSV(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"results.csv":  "method,top-1,gain\nassembling,77.256,1.5\ne2e,,-0.25\n",
		"accuracy.csv": "epoch,meta <1>,paper\n1,10,30\n2,20,30\n3,40,30\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		lo, hi float64
		n      int
		want   []float64
	}{
		{0, 10, 6, []float64{0, 2, 4, 6, 8, 10}},
		{69.4, 77.2, 6, []float64{70, 72, 74, 76}},
		{-1, 1, 4, []float64{-1, -0.5, 0, 0.5, 1}},
		{1e-6, 2e-3, 4, []float64{5e-4, 1e-3, 1.5e-3, 2e-3}},
		{1, 300, 8, []float64{50, 100, 150, 200, 250, 300}},
	} {
		got := ticks(test.lo, test.hi, test.n)
		equal := slices.EqualFunc(got, test.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-12 })
		if !equal {
			t.Errorf("ticks of %v to %v: %v, want %v", test.lo, test.hi, got, test.want)
		}
	}
}

const tiny = `
title  = "A tiny study"
source = "Figure 0"
says   = ["It is tiny."]
preset = "quickstart"
set    = ["model.depth=4", "model.width=16", "model.heads=2", "data.train=200", "data.eval=100", "meta.epochs=2",
          "schedule=2+1", "train.warmup_epochs=0", "finetune.warmup_epochs=0", "run.equal=epochs"]
[[series]]
name   = "lr"
method = "assembling"
key    = "finetune.lr"
values = [1e-3, 1e-4]
[[paper]]
source = "Figure 0"
series = "lr"
point  = "0.001"
value  = 61.5
`

// TestRunAndStudy writes reports of a real study and one of its runs.
func TestRunAndStudy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tiny.toml")
	if err := os.WriteFile(path, []byte(tiny), 0o600); err != nil {
		t.Fatal(err)
	}
	def, err := presets.LoadStudy(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	s, err := study.Create(ctx, t.TempDir(), def, study.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := Study(t.Context(), s)
	if err != nil {
		t.Fatalf("before the study has started: %v", err)
	}
	err = s.Execute(ctx, nil, func(ctx context.Context, _ study.Cell, c *presets.Config, run *runs.Run) error {
		return launch.Execute(ctx, c, run, launch.Options{})
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := Study(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	run, err := Run(t.Context(), s.RunDir(s.Cells[1]))
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	for name, d := range map[string]*Document{"before": before, "after": after, "run": run} {
		file := filepath.Join(out, name+".html")
		if err := d.Save(file); err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check(t, page)
	}
	if n := len(after.Charts[0].Lines); n != 2 || len(after.Charts[0].Lines[0].Points) != 2 || !after.Charts[0].Lines[1].Paper {
		t.Errorf("the study's chart: %+v", after.Charts)
	}
	if rows := after.Tables[0].Rows; rows[0][5].Number != 61.5 || !math.IsNaN(rows[1][5].Number) || rows[1][9].Text == "" {
		t.Errorf("the study's table: %+v", rows)
	}
	if len(run.Charts) != 3 || len(run.Charts[0].Lines) != 7 { // meta, 4 modules, assembled, fine-tuned
		t.Errorf("the run's charts: %+v", run.Charts)
	}
	if !slices.ContainsFunc(run.Facts, func(f Fact) bool { return f.Name == "device" && f.Value != "" }) {
		t.Errorf("the run's facts: %+v", run.Facts)
	}
	t.Run("browser", func(t *testing.T) { browse(t, filepath.Join(out, "after.html")) })
}

// browse lays the page out in a browser, if there is one.
func browse(t *testing.T, path string) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
		"--user-data-dir="+t.TempDir(), "--dump-dom", "file://"+path)
	dom, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	if n := strings.Count(string(dom), "<circle"); n != 3 {
		t.Errorf("the browser drew %d points, want 3", n)
	}
}
