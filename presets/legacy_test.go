package presets

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// withoutMixBatch returns the configuration of a run that is older than mix_batch.
func withoutMixBatch(t *testing.T, preset string) string {
	t.Helper()
	old := regexp.MustCompile(`(?m)^mix_batch = .*\n`).ReplaceAllString(string(mustLoad(t, preset).TOML()), "")
	if strings.Contains(old, "mix_batch =") {
		t.Fatal("mix_batch is still there")
	}
	return old
}

func mixBatches(c *Config) [5]int {
	return [5]int{c.Meta.MixBatch, c.Modular.MixBatch, c.Finetune.MixBatch, c.E2E.MixBatch, c.HighRes.MixBatch}
}

// A run's configuration that is older than mix_batch keeps the behaviour of that time, one
// draw for a batch, whatever the presets have now. A user's file inherits from the preset
// that it extends.
func TestFilesOlderThanAKey(t *testing.T) {
	deit := [5]int{256, 128, 64, 64, 32}
	old := withoutMixBatch(t, "table1-vit-b-384")
	noHighRes := regexp.MustCompile(`(?s)\n\[highres\].*?\n\[`).ReplaceAllString(old, "\n[") // older still
	younger := regexp.MustCompile(`(?m)^(optimizer|drop_path_mode|ema|ema_mode|decay_from|compat|fraction|partition|missing|device) = .*\n`)
	for name, f := range map[string]struct {
		src  string
		want [5]int
	}{
		"a run's":                         {old, [5]int{}},
		"a run's, without other keys too": {younger.ReplaceAllString(noHighRes, ""), [5]int{}},
		"a run's of today":                {string(mustLoad(t, "table1-vit-b-384").TOML()), deit},
		"an older one, edited":            {strings.Replace(old, "\n[meta]\n", "\n[meta]\nmix_batch = 512\n", 1), [5]int{512}},
		"one's own":                       {"extends = \"table1-vit-b-384\"\n[meta]\nepochs = 10\n", deit},
		"one's own on CIFAR":              {"extends = \"table2-deit-t-32\"\n", [5]int{128, 128, 128, 128, 32}},
		"one's own that extends nothing": {"[data]\nname = \"cifar-100\"\n[model]\nwidth = 192\ndepth = 12\nheads = 3\n" +
			"[meta]\nepochs = 3\nbatch = 512\nlr = 1e-3\n[modular]\nepochs = 3\nbatch = 512\n[train]\neps = 1e-7\n", deit},
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(f.src), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := mixBatches(c); got != f.want {
			t.Errorf("%s: mix_batch %v, want %v", name, got, f.want)
		}
		// A file inherits the older configuration that it extends.
		child := filepath.Join(filepath.Dir(path), "child.toml")
		if err := os.WriteFile(child, []byte("extends = \"config.toml\"\n[e2e]\nlr = 1e-3\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err = Load(child, []string{"finetune.mix_batch=4"}); err != nil {
			t.Errorf("%s, extended: %v", name, err)
			continue
		}
		f.want[2] = 4
		if got := mixBatches(c); got != f.want {
			t.Errorf("%s, extended: mix_batch %v, want %v", name, got, f.want)
		}
	}
}

// Writing and reading an older configuration loses nothing.
func TestOlderFileIsWrittenWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(withoutMixBatch(t, "table1-vit-b")), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(again, c.TOML(), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := Load(again, nil)
	if err != nil {
		t.Fatal(err)
	}
	if changes := Diff(c, d); len(changes) > 0 {
		t.Error(changes)
	}
}
