// Package presets holds experiments as TOML files and turns one of them, with
// the user's changes, into a checked [Config].
//
// A user's file says what differs from the preset that it extends:
//
//	extends = "quickstart"
//
//	[modules]
//	k = 2
//
//	[train] # every stage without its own lr
//	lr = 5e-4
//
// The defaults are a file too: deit.toml, in which every chain of extends ends.
//
// Each table has a Go file with its type, the entries of its keys ([Setting]), and the
// checks that compare keys. To add a setting, add a field and its entry to one of these
// files, and its default to deit.toml.
package presets

import (
	"errors"
	"slices"
	"strings"

	"hatchery/models"
)

// Config is one experiment with every value resolved. A run folder holds its TOML form as
// config.toml, and loading that file gives the same Config.
type Config struct {
	Name     string   `toml:"name"`
	Title    string   `toml:"title"`
	Notes    string   `toml:"notes"`
	Seed     uint64   `toml:"seed"`
	Schedule string   `toml:"schedule"` // Modular.Epochs + Finetune.Epochs: "200+100"
	Compat   string   `toml:"compat"`
	Missing  []string `toml:"missing"` // features that are not built: see Runnable

	Model   models.ViT `toml:"model"`
	Modules Modules    `toml:"modules"`
	Data    Data       `toml:"data"`
	Augment Augment    `toml:"augment"`
	Run     Run        `toml:"run"`
	Launch  Launch     `toml:"launch"`

	// The recipes. In a file, [train] holds values for all of them, and each table its
	// changes.
	Meta     Recipe `toml:"meta"`
	Modular  Recipe `toml:"modular"`
	Finetune Recipe `toml:"finetune"`
	E2E      Recipe `toml:"e2e"`

	HighRes HighRes `toml:"highres"`

	Paper []PaperValue `toml:"paper"`

	// origins holds the position of each key that was read, so that Validate can name the
	// line.
	origins map[string]origin

	warnings []string
}

// group is a table with its settings.
type group struct {
	table, title string
	settings     []Setting
	recipe       *Recipe // of a stage, or nil
}

// groups returns the tables of a configuration, in reading order.
func (c *Config) groups() []group {
	return []group{
		{"", "experiment", c.settings(), nil},
		{"model", "target model", modelSettings(&c.Model), nil},
		{"modules", "division into modules", c.Modules.settings(), nil},
		{"data", "data set", c.Data.settings(), nil},
		{"augment", "augmentation", c.Augment.settings(), nil},
		{"run", "methods and device", c.Run.settings(), nil},
		{"launch", "stages in separate processes", c.Launch.settings(), nil},
		{"launch.slurm", "Slurm jobs", c.Launch.Slurm.settings(), nil},
		{"meta", "pre-training of the meta model", c.Meta.settings(), &c.Meta},
		{"modular", "training of the modules", c.Modular.settings(), &c.Modular},
		{"finetune", "fine-tuning of the assembled model", c.Finetune.settings(), &c.Finetune},
		{"e2e", "end-to-end training of the target model", c.E2E.settings(), &c.E2E},
		{"highres", "fine-tuning at a larger image size", c.HighRes.settings(), &c.HighRes.Recipe},
	}
}

// recipes returns the tables with recipes, without [highres] if there is no such stage.
func (c *Config) recipes() []group {
	return slices.DeleteFunc(c.groups(), func(g group) bool {
		return g.recipe == nil || g.recipe == &c.HighRes.Recipe && c.HighRes.Image == 0
	})
}

// settings returns the entries of the keys outside tables. Compat "official" imitates
// deviations of the official code from the paper that change results: the learning rate
// of an epoch is set after it, so that the schedule lags by one epoch (DeiT's script has
// that too), and module 1 decays pos_embed and cls_token. It does not imitate errors of
// that code that have no effect on the paper's runs.
func (c *Config) settings() []Setting {
	return []Setting{
		{field: &c.Name, PerFile: true, Optional: true, NotIdentity: true, Effect: EffectNone,
			Help: "name of the preset, with which the folders of its runs begin", Rule: rule(checkName)},
		{field: &c.Title, PerFile: true, Optional: true, NotIdentity: true, Effect: EffectNone,
			Help: "one line for lists"},
		{field: &c.Notes, PerFile: true, Optional: true, NotIdentity: true, Effect: EffectNone,
			Help: "which settings are the paper's and which are our choice"},
		{field: &c.Seed, Limits: from(0),
			Help: "seed of every random number"},
		{field: &c.Schedule, Unit: "epochs", Form: "modular+fine-tuning", Optional: true, NotIdentity: true,
			Help: "the paper's notation, 200+100; sets modular.epochs and finetune.epochs"},
		{field: &c.Compat, Words: []string{"none", "official"},
			Help: "whether to imitate the official code's deviations from the paper"},
		{field: &c.Missing, Optional: true, NotIdentity: true, Effect: EffectNone,
			Help: "features that the experiment needs and this program lacks"},
		{field: &c.Paper, Optional: true, NotIdentity: true, Effect: EffectNone,
			Help: "numbers that the paper reports for this experiment"},
	}
}

// checkName rejects names that would lead out of the folder of runs, or hide a run.
func checkName(name string) error {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\\x00\r\n") {
		return errors.New("must not be empty, begin with a dot or contain / or \\, since it names folders")
	}
	return nil
}

// Warnings returns warnings about the loaded configuration, of one line each.
func (c *Config) Warnings() []string { return c.warnings }

// Final returns the target model after the last stage, at that stage's image size.
func (c *Config) Final() models.ViT {
	m := c.Model
	if c.HighRes.Image > 0 {
		m.Image = c.HighRes.Image
	}
	return m
}
