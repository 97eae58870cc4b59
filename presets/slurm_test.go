package presets

import (
	"strings"
	"testing"
	"time"
)

func TestSlurmTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Minute, "5:30": 5*time.Minute + 30*time.Second, "4:00:00": 4 * time.Hour,
		"2-12": 60 * time.Hour, "10000-0": 10000 * 24 * time.Hour, "9999-24": 10000 * 24 * time.Hour, "1-0:30": 24*time.Hour + 30*time.Minute, "0-1:2:3": time.Hour + 2*time.Minute + 3*time.Second,
	} {
		if got, ok := SlurmTime(text); !ok || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "4h", "1:2:3:4", "-1", "1-", "a-1", "1-2-3", "::", "99999999999999999999", "+5", "1.5",
		"0-2700000", "10001-0", "10000-0:1", "9999-24:0:1", "14400001", "0:864000001"} {
		if got, ok := SlurmTime(text); ok {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestParts(t *testing.T) {
	for some, want := range map[string]string{"data.train=0": "", "data.train=500": "holds parts of all images", "data.fraction=0.5": "holds parts of all images"} {
		c, err := Load("quickstart", []string{"launch.parts=/parts", "data.partition=true", "run.together=false", some})
		if err == nil {
			err = c.Validate(DataInfo{})
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", some, err, want)
		}
	}
}

func TestSlurmOptions(t *testing.T) {
	for set, want := range map[string]string{
		"launch.slurm.time=4:00:00":             "",
		"launch.slurm.time=90":                  "",
		"launch.slurm.mem=16G":                  "",
		"launch.slurm.gres=gpu:a100:1":          "",
		"launch.slurm.extra=--exclude=n7":       "",
		"launch.slurm.time=3":                   "too short",
		"launch.slurm.time=4h":                  "is not a time limit",
		"launch.slurm.mem=lots":                 "is not a size",
		"launch.slurm.partition=two words":      "must be one word",
		"launch.slurm.partition=--wrap":         "must be one word",
		"launch.slurm.cpus=-1":                  "must be at least 0",
		"launch.slurm.array_parallelism=-1":     "must be at least 0",
		"launch.slurm.extra=--array=1-9":        "--array is set by hatchery",
		"launch.slurm.extra=--partition=a":      "set launch.slurm.partition",
		"launch.slurm.extra=-p":                 "is not a long option",
		`launch.slurm.extra=["--mail-user=\n"]`: "is not a long option",
		"launch.parts=/parts":                   "set data.partition = true",
		"launch.slurm.parttion=a":               "did you mean launch.slurm.partition?",
	} {
		c, err := Load("quickstart", []string{set})
		if err == nil {
			err = c.Validate(DataInfo{})
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}
