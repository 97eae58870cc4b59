package presets

import (
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

var fashion = DataInfo{Classes: 10, Height: 28, Width: 28, Channels: 1, Train: 5000, Eval: 1000}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		sets []string
		want []string // nil: valid
	}{
		{"quickstart", nil, nil},
		{"uneven split", []string{"modules.k=3", "modules.split=2,2,4"}, nil},
		{"one module", []string{"modules.k=1"}, nil},
		{"accumulation", []string{"train.micro_batch=25"}, nil},
		{"no warm-up in an epoch", []string{"schedule=1+1", "train.warmup_epochs=0", "meta.warmup_epochs=0"}, nil},
		{"e2e alone", []string{"run.methods=e2e", "run.equal=epochs"}, nil},

		{"k does not divide depth", []string{"modules.k=3"},
			[]string{"--set modules.k=3: modules.k = 3: 8 blocks do not divide evenly into 3 modules; use k = 1, 2, 4, 8, or give the depths: split = [3, 3, 2]"}},
		{"k above depth", []string{"modules.k=9"},
			[]string{"--set modules.k=9: modules.k = 9: 9 modules need at least 9 blocks, the model has depth 8"}},
		{"k of zero", []string{"modules.k=0"},
			[]string{"--set modules.k=0: modules.k = 0: must be at least 1; the default is 4"}},
		{"wrong sum", []string{"modules.split=2,2,2,3"},
			[]string{"--set modules.split=2,2,2,3: modules.split = [2, 2, 2, 3]: the depths [2, 2, 2, 3] add up to 9, not to the model's depth 8"}},
		{"wrong length", []string{"modules.split=4,4"},
			[]string{"--set modules.split=4,4: modules.split = [4, 4]: has 2 depths for k = 4 modules; give one depth a module, such as [2, 2, 2, 2]"}},
		{"depth of zero", []string{"modules.split=0,2,3,3"},
			[]string{"--set modules.split=0,2,3,3: modules.split = [0, 2, 3, 3]: must hold integers, each at least 1"}},
		{"meta depth", []string{"modules.meta_depth=0"},
			[]string{"--set modules.meta_depth=0: modules.meta_depth = 0: must be at least 1; the default is 1"}},
		{"heads", []string{"model.heads=5"},
			[]string{"--set model.heads=5: model.heads = 5: 5 heads do not divide the width 64; use one of 1, 2, 4, 8, 16, 32, 64"}},
		{"patch", []string{"model.patch=8"},
			[]string{"--set model.patch=8: model.patch = 8: 8 pixels do not divide the image's 28; use one of 1, 2, 4, 7, 14, 28"}},
		{"no depth", []string{"model.depth=0"},
			[]string{"--set model.depth=0: model.depth = 0: must be at least 1"}},
		{"a size that would fill memory", []string{"model.depth=3000000000", "modules.k=1000000000"},
			[]string{"--set model.depth=3000000000: model.depth = 3000000000: is too large; give at most 1024",
				"--set modules.k=1000000000: modules.k = 1000000000: is too large; give at most 1024; the default is 4"}},
		{"a split that overflows", []string{"modules.split=9223372036854775807,9223372036854775807,1,9"},
			[]string{"--set modules.split=9223372036854775807,9223372036854775807,1,9: modules.split = [9223372036854775807, 9223372036854775807, 1, 9]: holds a number that is too large; give at most 1024"}},

		{"DeiT's augmentation", []string{"augment.crop_padding=0", "augment.resized_crop=0.08,1", "augment.rand_augment=rand-m9-mstd0.5-inc1", "augment.reprob=0.25", "augment.repeats=3"}, nil},
		{"two crops", []string{"augment.resized_crop=0.08,1"},
			[]string{place("quickstart", "augment", "crop_padding") + ": augment.crop_padding = 2: cannot be combined with augment.resized_crop; set augment.resized_crop = [] or augment.crop_padding = 0"}},
		{"RandAugment", []string{"augment.rand_augment=rand-m9-w0"},
			[]string{`--set augment.rand_augment=rand-m9-w0: augment.rand_augment = "rand-m9-w0": RandAugment "rand-m9-w0": unknown "w"; known are m, n, p, mstd, mmax and inc; "" means off; the default is "rand-m9-mstd0.5-inc1"`}},

		{"epochs", []string{"meta.epochs=0"},
			[]string{"--set meta.epochs=0: meta.epochs = 0: must be at least 1; the default is 300"}},
		{"as many threads as any machine has cores", []string{"run.threads=1024"}, nil},
		{"too many threads", []string{"run.threads=1000000"},
			[]string{"--set run.threads=1000000: run.threads = 1000000: is too large; give at most 1024; 0 means one per core"}},
		{"lr, of all stages one problem", []string{"train.lr=0"},
			[]string{"--set train.lr=0: train.lr = 0: must be above 0; the default is 0.0005"}},
		{"batch", []string{"e2e.batch=0"},
			[]string{"--set e2e.batch=0: e2e.batch = 0: must be at least 1; the default is 1024"}},
		{"micro batch", []string{"e2e.micro_batch=30"},
			[]string{"--set e2e.micro_batch=30: e2e.micro_batch = 30: does not divide e2e.batch = 100; 0 takes the batch in one pass"}},
		{"warm-up", []string{"schedule=4+4", "modular.warmup_epochs=4"},
			[]string{"--set modular.warmup_epochs=4: modular.warmup_epochs = 4: must be from 0 to below modular.epochs = 4; set modular.warmup_epochs lower; 0 means no warm-up"}},
		{"warm-up of a shorter schedule", []string{"schedule=1+1"},
			[]string{place("quickstart", "train", "warmup_epochs") + ": train.warmup_epochs = 1: must be from 0 to below modular.epochs = 1; set modular.warmup_epochs lower; 0 means no warm-up"}},
		{"min lr after scaling", []string{"meta.lr=1e-3", "meta.lr_batch=1000", "meta.min_lr=5e-4"},
			[]string{"--set meta.min_lr=5e-4: meta.min_lr = 0.0005: must be from 0 to the learning rate, 0.0001 after scaling"}},
		{"rates", []string{"meta.drop_path=1", "augment.smoothing=1", "augment.flip=1.5", "augment.mixup=-1", "train.clip_grad=-1"},
			[]string{"--set augment.flip=1.5: augment.flip = 1.5: must be from 0 to 1; the default is 0.5",
				"--set augment.mixup=-1: augment.mixup = -1: must be at least 0; 0 means off, the default is 0.8",
				"--set augment.smoothing=1: augment.smoothing = 1: must be from 0 to below 1; 0 means off, the default is 0.1",
				"--set train.clip_grad=-1: train.clip_grad = -1: must be at least 0; 0 means off",
				"--set meta.drop_path=1: meta.drop_path = 1: must be from 0 to below 1; 0 means off"}},
		{"the rest of a stage", []string{"e2e.weight_decay=-1", "e2e.eps=0", "e2e.eval_every=-1", "e2e.lr_batch=-1", "e2e.warmup_epochs=-1", "e2e.micro_batch=-1", "e2e.mix_batch=1", "meta.mix_batch=-1"},
			[]string{"--set meta.mix_batch=-1: meta.mix_batch = -1: must be at least 2, or 0; 0 means the batch, the default is 256",
				"--set e2e.micro_batch=-1: e2e.micro_batch = -1: must be at least 0; 0 means the batch",
				"--set e2e.mix_batch=1: e2e.mix_batch = 1: must be at least 2, or 0; 0 means the batch, the default is 64",
				"--set e2e.lr_batch=-1: e2e.lr_batch = -1: must be at least 0; 0 means no scaling, the default is 512",
				"--set e2e.warmup_epochs=-1: e2e.warmup_epochs = -1: must be at least 0; the default is 5",
				"--set e2e.weight_decay=-1: e2e.weight_decay = -1: must be at least 0; the default is 0.05",
				"--set e2e.eps=0: e2e.eps = 0: must be above 0; the default is 1e-08",
				"--set e2e.eval_every=-1: e2e.eval_every = -1: must be at least 0; 0 means only the last, the default is 1"}},
		{"the rest", []string{"augment.crop_padding=-1", "augment.cutmix=-0.1", "augment.resized_crop=0.5,0.2", "augment.repeats=0", "run.threads=-1", "data.eval=-1", "data.fraction=0", "data.name="},
			[]string{"--set data.name=: data.name = \"\": must not be empty",
				"--set data.eval=-1: data.eval = -1: must be at least 0; 0 means all",
				"--set data.fraction=0: data.fraction = 0: must be above 0 and at most 1; 1 means all",
				"--set augment.crop_padding=-1: augment.crop_padding = -1: must be at least 0; 0 means off",
				"--set augment.cutmix=-0.1: augment.cutmix = -0.1: must be at least 0; 0 means off, the default is 1",
				"--set augment.resized_crop=0.5,0.2: augment.resized_crop = [0.5, 0.2]: must hold the minimum and the maximum area, above 0 and up to 1; [] means off; the default is [0.08, 1]",
				"--set augment.repeats=0: augment.repeats = 0: must be at least 1; 1 means off, the default is 3",
				"--set run.threads=-1: run.threads = -1: must be at least 0; 0 means one per core"}},
		{"two parts", []string{"data.train=100", "data.fraction=0.5"},
			[]string{"--set data.fraction=0.5: data.fraction = 0.5: data.train = 100 selects another subset; set data.train = 0 or data.fraction = 1"}},
		{"newer words", []string{"compat=offical", "meta.optimizer=adam", "meta.drop_path_mode=flat", "meta.decay_from=end", "meta.ema_mode=both", "meta.ema=1"},
			[]string{"--set compat=offical: compat = \"offical\": unknown; did you mean \"official\"?",
				"--set meta.decay_from=end: meta.decay_from = \"end\": unknown; choose one of \"start\", \"warmup\"",
				"--set meta.optimizer=adam: meta.optimizer = \"adam\": unknown; did you mean \"adamw\"?",
				"--set meta.drop_path_mode=flat: meta.drop_path_mode = \"flat\": unknown; choose one of \"linear\", \"uniform\"",
				"--set meta.ema=1: meta.ema = 1: must be from 0 to below 1; 0 means none",
				"--set meta.ema_mode=both: meta.ema_mode = \"both\": unknown; choose one of \"beside\", \"instead\""}},
		{"parts of the data for modules that share batches", []string{"data.partition=true"},
			[]string{place("quickstart", "run", "together") + ": run.together = true: modules that train on different parts of the data cannot share a batch; set run.together = false or data.partition = false"}},
		{"the official schedule by steps", []string{"compat=official", "train.schedule_unit=epoch", "e2e.schedule_unit=step"},
			[]string{"--set e2e.schedule_unit=step: e2e.schedule_unit = \"step\": compat = \"official\" sets the rate once per epoch; set schedule_unit = \"epoch\" or compat = \"none\""}},
		{"larger images in odd patches", []string{"highres.image=36", "highres.lr=0"},
			[]string{"--set highres.lr=0: highres.lr = 0: must be above 0; the default is 5e-06",
				"--set highres.image=36: highres.image = 36: patches of 7 pixels do not divide it; set 42"}},
		{"betas", []string{"train.betas=0.9,1"},
			[]string{"--set train.betas=0.9,1: train.betas = [0.9, 1]: must hold 2 numbers, each from 0 to below 1; the default is [0.9, 0.999]"}},
		{"words", []string{"run.equal=time", "e2e.schedule_unit=steps"},
			[]string{"--set run.equal=time: run.equal = \"time\": unknown; choose one of \"epochs\", \"cost\"",
				"--set e2e.schedule_unit=steps: e2e.schedule_unit = \"steps\": unknown; did you mean \"step\"?"}},
		{"not finite", []string{"train.lr=nan", "meta.eps=inf"},
			[]string{"--set train.lr=nan: train.lr = NaN: must be a finite number",
				"--set meta.eps=inf: meta.eps = +Inf: must be a finite number"}},
		{"name", []string{"name=../x"},
			[]string{"--set name=../x: name = \"../x\": must not be empty, begin with a dot or contain / or \\, since it names folders"}},

		{"data of another shape", []string{"model.classes=100", "model.channels=3", "model.image=35"},
			[]string{"--set model.classes=100: model.classes = 100: data set fashion-mnist-5k has 10; set model.classes = 10",
				"--set model.channels=3: model.channels = 3: images of data set fashion-mnist-5k have 1; set model.channels = 1",
				"--set model.image=35: model.image = 35: images of data set fashion-mnist-5k have 28x28 pixels; set model.image = 28"}},
		{"more images than the data set has", []string{"data.train=6000"},
			[]string{"--set data.train=6000: data.train = 6000: data set fashion-mnist-5k has 5000 images; 0 takes all of them"}},
		{"batch above the images", []string{"data.train=50", "train.batch=40"},
			[]string{place("quickstart", "e2e", "batch") + ": e2e.batch = 100: more than the 50 training images: an epoch would have no step"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := mustLoad(t, "quickstart", c.sets...).Validate(fashion)
			var got []string
			if problems, ok := errors.AsType[Problems](err); ok {
				for _, p := range problems {
					got = append(got, p.String())
				}
			} else if err != nil {
				t.Fatalf("%T: %v", err, err)
			}
			if g, w := strings.Join(got, "\n"), strings.Join(c.want, "\n"); g != w {
				t.Errorf("got:\n%s\nwant:\n%s", g, w)
			}
		})
	}
}

// A Config that was not loaded has no lines, nor have its problems.
func TestValidateWithoutOrigins(t *testing.T) {
	c := *mustLoad(t, "quickstart")
	c.origins = nil
	c.Seed = math.MaxUint64
	c.Modular.LR = -1
	want := "2 problems in the configuration:\n" +
		"  seed = 18446744073709551615: is too large for TOML; give at most 9223372036854775807\n" +
		"  modular.lr = -1: must be above 0; the default is 0.0005"
	if err := c.Validate(DataInfo{}); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestValidatePaper(t *testing.T) {
	dir := write(t, map[string]string{"x.toml": `extends = "quickstart"

		[[paper]]
		source = "a"
		method = "info-pro"
		metric = "top1"
		value  = 1
		[[paper]]
		source = "a"
		method = "info-pro"
		metric = "top1"
		value  = 2
		[[paper]]
		source = "a"
		metric = "accuracy"
		value  = nan`})
	const want = "4 problems in the configuration:\n" +
		"  x.toml:3: paper: unknown method \"info-pro\"; did you mean \"infopro\"?\n" +
		"  x.toml:3: paper: two values of top1 of \"info-pro\" in \"a\"; keep one\n" +
		"  x.toml:3: paper: must hold finite numbers\n" +
		"  x.toml:3: paper: unknown metric \"accuracy\"; choose one of \"top1\", \"gpu_hours\", \"train_loss\", \"gmacs\", \"mparams\""
	err := mustLoad(t, filepath.Join(dir, "x.toml")).Validate(fashion)
	if err == nil || strings.ReplaceAll(err.Error(), dir+"/", "") != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestRunnable(t *testing.T) {
	for _, ref := range []string{"quickstart", "fashion-deep", "table2-deit-t-128", "table1-vit-b"} {
		if err := mustLoad(t, ref).Runnable(); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	c := mustLoad(t, "quickstart", "run.methods=[]")
	want := "--set run.methods=[]: run.methods = []: no method to run: this preset records a model and the paper's numbers; plan works; to train, set run.methods = [\"assembling\", \"e2e\"] and read the preset's notes"
	if err := c.Runnable(); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"width", "depth", "heads", "mixup", "cutmix"}
	for written, want := range map[string]string{
		"widht": "width", "with": "width", "WIDTH": "width", "mixpu": "mixup", "cut_mix": "cutmix",
		"head": "heads", "xylophone": "", "": "", "wi": "",
	} {
		if got := Nearest(written, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", written, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
