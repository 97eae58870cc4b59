package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// explain returns what `hatchery help` writes in a program with the commands
// help, data and presets.
func explain(t *testing.T, words ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	var g struct {
		Help    Help    `cmd:"" help:"Explain."`
		Data    Data    `cmd:"" help:"All about data."`
		Presets Presets `cmd:"" help:"All about presets."`
		Execute Execute `cmd:"" hidden:""`
	}
	parser, err := kong.New(&g, kong.Writers(&out, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(append([]string{"help"}, words...)); err != nil {
		t.Fatal(err)
	}
	err = g.Help.Run(t.Context(), &App{Out: &out})
	return out.String(), err
}

func TestHelp(t *testing.T) {
	generated = []topic{{"settings", "the settings", func(out io.Writer, words []string) error {
		if len(words) > 1 {
			return fmt.Errorf("one key at a time")
		}
		_, err := fmt.Fprintf(out, "of %q\n", words)
		return err
	}}}
	defer func() { generated = nil }()
	for _, c := range []struct{ words, want string }{
		{"", "  runs        Runs: their folders"},
		{"", "  settings    the settings"},
		{"runs", "Runs: their folders, resuming, background, queue\n"},
		{"settings", "of []"},
		{"settings lr", `of ["lr"]`},
		{"data", "Data sets, folders of pictures, packs, parts\n"},
		{"data", "\nFor the command of the same name: hatchery data --help\n"},
		{"data pack", " data pack --side=N <set> <to>"},
		{"presets", "All about presets."},
	} {
		if got, err := explain(t, strings.Fields(c.words)...); err != nil || !strings.Contains(got, c.want) {
			t.Errorf("help %s: %v, no %q in\n%s", c.words, err, c.want, got)
		}
	}
	for words, want := range map[string]string{
		"slrum":         `there is no help on "slrum"; did you mean slurm?`,
		"seting":        `there is no help on "seting"; did you mean settings?`,
		"preset":        `there is no help on "preset"; did you mean presets?`,
		"what now":      "there is no help on \"what now\"; `hatchery help` lists the topics",
		"execute":       "there is no help on \"execute\"; `hatchery help` lists the topics",
		"runs quickly":  `the topic runs has no part "quickly"`,
		"settings a b":  "one key at a time",
		"presets steal": "there is no help on \"presets steal\"; `hatchery help` lists the topics",
	} {
		if got, err := explain(t, strings.Fields(words)...); ExitCode(err) != ExitBadInput || err.Error() != want {
			t.Errorf("help %s: %v, want %s; and\n%s", words, err, want, got)
		}
	}
}

// TestTopics checks that topics fit terminals of 80 columns.
func TestTopics(t *testing.T) {
	all, err := topics()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 7 {
		t.Errorf("%d topics", len(all))
	}
	for _, topic := range all {
		var out bytes.Buffer
		if err := topic.write(&out, nil); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		if topic.title == "" || topic.title != lines[0] || len(lines) < 3 || lines[1] != "" || lines[len(lines)-1] != "" {
			t.Errorf("%s does not begin with a title and an empty line, and end with a line break:\n%s", topic.name, &out)
		}
		for _, line := range lines {
			if len(line) > 80 || strings.TrimRight(line, " \t") != line || strings.Contains(line, "\t") {
				t.Errorf("%s: longer than 80 columns, or with blanks at the end or tabs: %q", topic.name, line)
			}
		}
	}
}
