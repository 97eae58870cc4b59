package presets

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A configuration with comments loads to the same configuration.
func TestAnnotated(t *testing.T) {
	configs := []*Config{mustLoad(t, "quickstart", "run.methods=[]", "data.root=/a \"b\" # c")}
	configs[0].Notes = "line\n\"\"\"quotes\\ and 'single'\t\x01 \u202e # = [x]\r\n"
	for _, name := range loadable() {
		configs = append(configs, mustLoad(t, name))
	}
	for _, c := range configs {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, c.Annotated(), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Load(path, nil)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if !bytes.Equal(again.TOML(), c.TOML()) {
			t.Errorf("%s comes back as\n%s", c.Name, again.TOML())
		}
	}
	text := string(configs[1].Annotated())
	for _, s := range Settings() {
		if s.Key != "paper" && !strings.Contains(text, "# "+s.Help) {
			t.Errorf("%s has no comment", s.Key)
		}
	}
	if want := "\n[augment]                               # augmentation\ncrop_padding = "; !strings.Contains(text, want) {
		t.Errorf("%q is not in\n%s", want, text)
	}
}

func TestReference(t *testing.T) {
	write := func(words ...string) string {
		var b strings.Builder
		if err := WriteReference(&b, nil, words...); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	all := write()
	for _, s := range settings {
		if strings.Contains(all, "  "+s.Key+": ") != (s.Shared == "") {
			t.Errorf("%s: once under [train], or else where it belongs", s.Key)
		}
	}
	const want = `TARGET MODEL [model]

  model.patch: integer, px, divides image
      height and width of a patch
      default: 16; changes results

VALUES FOR THE RECIPES OF ALL STAGES [train], unless the table of a stage has its own value: [meta], [modular], [finetune], [e2e], [highres]

  train.micro_batch: integer, images, divides batch, or 0 (the batch)
      images per pass; gradients are accumulated over batch/micro_batch passes
      default: 0; changes results by rounding

`
	if got := write("DIVIDES", "default"); !strings.HasPrefix(got, "TARGET MODEL") || !strings.Contains(got, want[strings.Index(want, "VALUES"):]) || !strings.Contains(got, want[:strings.Index(want, "VALUES")-1]) {
		t.Errorf("got\n%s\nwant these of it\n%s", got, want)
	}
	for _, line := range []string{
		"      default: 2048 (e2e 1024, highres 512); changes results\n",
		"      default: none (meta 300, modular 100, finetune 100, e2e 300, highres 30); changes results\n",
		"      default: false; changes results by rounding, of [modular] only\n",
		"  augment.mixup: number, 0 (off) and up\n",
		"  train.optimizer: string, adamw or lamb\n",
	} {
		if !strings.Contains(all, line) {
			t.Errorf("%q is not in\n%s", line, all)
		}
	}
	// The key of a stage is described by that of [train].
	if got := write("finetune.lr_batch"); !strings.Contains(got, "  train.lr_batch: ") {
		t.Errorf("got\n%s", got)
	}
	var b strings.Builder
	if err := WriteReference(&b, map[string][]string{"run.methods": {"one", "two"}}, "run.methods"); err != nil || !strings.Contains(b.String(), "names of methods: one, two") {
		t.Errorf("%v, %s", err, b.String())
	}
	if err := WriteReference(new(strings.Builder), nil, "xylophone"); err == nil || !strings.Contains(err.Error(), "xylophone") {
		t.Errorf("a word that is nowhere: %v", err)
	}
}
