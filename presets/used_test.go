package presets

import (
	"strings"
	"testing"
)

// Settings of stages that will not run need not fit the data.
func TestStagesThatDoNotRun(t *testing.T) {
	few := DataInfo{Classes: 10, Height: 28, Width: 28, Channels: 1, Train: 60, Eval: 10}
	assembling := []string{"meta", "modular", "finetune"}
	for _, c := range []struct {
		what string
		sets []string
		used []string
		want string // in the error; empty: none
	}{
		{"e2e.batch, and e2e does not run", []string{"e2e.batch=100"}, assembling, ""},
		{"e2e.batch, and e2e runs", []string{"e2e.batch=100"}, []string{"e2e"}, "e2e.batch = 100: more than the 60 training images"},
		{"e2e.batch, and everything runs", []string{"e2e.batch=100"}, nil, "e2e.batch = 100: more than the 60 training images"},
		{"modular.batch, and e2e alone runs", []string{"modular.batch=100"}, []string{"e2e"}, ""},
		{"parts, and no module is trained", []string{"launch.parts=/p"}, []string{"e2e"}, ""},
		{"parts, and modules are trained", []string{"launch.parts=/p"}, assembling, "launch.parts"},
		{"together and parted, and no module is trained", []string{"data.partition=true", "run.together=true"}, []string{"e2e"}, ""},
		{"together and parted", []string{"data.partition=true", "run.together=true"}, assembling, "run.together"},
		{"the official schedule", []string{"compat=official", "train.schedule_unit=epoch", "e2e.schedule_unit=step"}, assembling, ""},
		{"the official schedule of what runs", []string{"compat=official", "train.schedule_unit=epoch", "e2e.schedule_unit=step"}, []string{"e2e"}, "e2e.schedule_unit"},
		{"a warm-up of what does not run", []string{"e2e.epochs=1", "e2e.warmup_epochs=1"}, assembling, ""},
		{"a warm-up of what runs", []string{"e2e.epochs=1", "e2e.warmup_epochs=1"}, []string{"e2e"}, "e2e.warmup_epochs = 1: must be from 0 to below e2e.epochs = 1"},
		{"passes of what does not run", []string{"e2e.micro_batch=7"}, assembling, ""},
		{"a rate of what does not run", []string{"e2e.min_lr=1"}, assembling, ""},
		{"odd patches, and no larger images", []string{"highres.image=36"}, assembling, ""},
		{"odd patches, and larger images", []string{"highres.image=36"}, []string{"meta", "highres"}, "patches of 7 pixels do not divide it"},
		{"a word of what does not run", []string{"e2e.optimizer=adam"}, assembling, "did you mean \"adamw\"?"},
		{"a stage that is off", []string{"highres.image=0", "highres.batch=0", "highres.lr=0"}, nil, ""},
		{"a stage that is not off", []string{"highres.image=56", "highres.batch=0"}, []string{"highres"}, "highres.batch = 0"},
		{"what is wrong by itself", []string{"e2e.lr=-1"}, assembling, "e2e.lr = -1: must be above 0"},
	} {
		err := mustLoad(t, "quickstart", append([]string{"meta.batch=20", "modular.batch=20", "finetune.batch=20", "e2e.batch=20", "data.train=0", "data.eval=0"}, c.sets...)...).Validate(few, c.used...)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// Counts are checked before anything is allocated.
func TestCounts(t *testing.T) {
	for _, set := range []string{
		"run.threads=1000000", "run.threads=-1", "meta.epochs=9223372036854775807", "e2e.batch=9223372036854775807", "augment.repeats=9223372036854775807",
		"data.train=9223372036854775807", "data.eval=9223372036854775807", "launch.slurm.cpus=9223372036854775807", "launch.slurm.array_parallelism=9223372036854775807",
		"highres.image=9223372036854775807", "highres.image=65532", "augment.crop_padding=9223372036854775807", "modular.warmup_epochs=9223372036854775807", "modular.eval_every=-1",
		"e2e.micro_batch=9223372036854775807", "e2e.lr_batch=-9223372036854775808", "modules.meta_depth=257", "model.depth=1025", "data.fraction=inf", "data.fraction=-1", "model.patch=9223372036854775807",
	} {
		key, _, _ := strings.Cut(set, "=")
		if err := mustLoad(t, "quickstart", set).Validate(DataInfo{}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", set, err)
		}
	}
	if err := mustLoad(t, "quickstart", "model.image=65536", "model.patch=1").Validate(DataInfo{}); err == nil || !strings.Contains(err.Error(), "model.patch = 1: divides an image of 65536 pixels into more patches than can be trained") {
		t.Errorf("%v", err)
	}
}
