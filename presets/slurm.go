package presets

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// SlurmNotice is the time before its limit at which Slurm signals a job, so that it saves
// a checkpoint and continues in a new job. Slurm may be a minute early.
const SlurmNotice = 2 * time.Minute

// minSlurmTime is the shortest time limit of a job. It is more than the notice takes.
const minSlurmTime = 5 * time.Minute

// reservedOptions are options of sbatch that hatchery sets for every job, or that would
// break its jobs.
var reservedOptions = []string{
	"array", "begin", "chdir", "clusters", "dependency", "error", "export", "export-file", "hold", "input", "job-name", "kill-on-invalid-dep",
	"no-kill", "no-requeue", "ntasks", "nodes", "open-mode", "output", "parsable", "quiet", "requeue", "signal", "test-only", "wait", "wrap",
}

// optionKeys maps options of sbatch to the keys of [launch.slurm] that set them.
var optionKeys = map[string]string{
	"partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint", "time": "time", "gres": "gres",
	"cpus-per-task": "cpus", "mem": "mem",
}

// Slurm holds the options of sbatch for each job of a run. An empty option, or 0, is not
// passed to sbatch.
type Slurm struct {
	Partition  string   `toml:"partition"`
	Account    string   `toml:"account"`
	QOS        string   `toml:"qos"`
	Constraint string   `toml:"constraint"`
	Time       string   `toml:"time"`
	GRES       string   `toml:"gres"`
	CPUs       int      `toml:"cpus"`
	Mem        string   `toml:"mem"`
	Parallel   int      `toml:"array_parallelism"`
	Extra      []string `toml:"extra"`
}

func (s *Slurm) settings() []Setting {
	word := rule(checkWord)
	all := []Setting{
		{field: &s.Partition, Form: "one of the cluster's", Rule: word, Help: "partition of every job"},
		{field: &s.Account, Rule: word, Help: "account of every job"},
		{field: &s.QOS, Rule: word, Help: "quality of service of every job"},
		{field: &s.Constraint, Form: "features of nodes", Rule: word, Help: "features that nodes must have"},
		{field: &s.Time, Form: "such as 90, 4:00:00, 2-12", Rule: rule(checkTime), Help: "time limit of a job; a longer stage continues in another job"},
		{field: &s.GRES, Form: "such as gpu:1", Rule: word, Help: "generic resources of every job"},
		{field: &s.CPUs, Limits: from(0).or(0, "the cluster's default").atMost(maxThreads), Help: "CPUs of a job, also its threads if run.threads is 0"},
		{field: &s.Mem, Form: "such as 16G", Rule: rule(checkMem), Help: "memory of a job per node"},
		{field: &s.Parallel, Unit: "modules", Limits: from(0).or(0, "all").atMost(maxSize), Help: "modules that train at the same time"},
		{field: &s.Extra, Form: "options of sbatch", Rule: rule(checkOptions), Help: "more options of every job, such as --exclude=node7"},
	}
	for i := range all {
		all[i].Effect = EffectNone
	}
	return all
}

// checkWord rejects text that sbatch and squeue would not read as one word.
func checkWord(text string) error {
	if strings.HasPrefix(text, "-") || strings.ContainsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		return errors.New("must be one word")
	}
	return nil
}

func checkTime(text string) error {
	if text == "" {
		return nil
	}
	limit, ok := SlurmTime(text)
	if !ok {
		return errors.New(`is not a time limit; "90" is minutes, "4:00:00" hours, minutes and seconds, "2-12" days and hours`)
	}
	if limit < minSlurmTime {
		return fmt.Errorf("is too short: a job begins to stop %v before its end; give %.0f minutes or more", SlurmNotice, minSlurmTime.Minutes())
	}
	return nil
}

func checkMem(text string) error {
	if text != "" && !slurmSize.MatchString(text) {
		return errors.New(`is not a size; "16G" is 16 GiB, "500M" MiB`)
	}
	return nil
}

func checkOptions(options []string) error {
	for _, option := range options {
		name, _, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		switch {
		case !strings.HasPrefix(option, "--") || name == "" || strings.ContainsFunc(option, unicode.IsControl):
			return fmt.Errorf(`%q is not a long option of sbatch; write "--exclude=node7"`, shorten(option))
		case optionKeys[name] != "":
			return fmt.Errorf("--%s has its own key; set launch.slurm.%s", name, optionKeys[name])
		case slices.Contains(reservedOptions, name):
			return fmt.Errorf("--%s is set by hatchery", name)
		}
	}
	return nil
}

var slurmSize = regexp.MustCompile(`^[1-9][0-9]*[KMGT]?$`)

// SlurmTime parses a time limit as sbatch does: minutes, minutes:seconds,
// hours:minutes:seconds, days-hours, days-hours:minutes or
// days-hours:minutes:seconds.
func SlurmTime(text string) (limit time.Duration, ok bool) {
	days, rest, hasDays := strings.Cut(text, "-")
	if !hasDays {
		days, rest = "0", text
	}
	parts := strings.Split(rest, ":")
	units := map[bool][][]time.Duration{
		false: {{time.Minute}, {time.Minute, time.Second}, {time.Hour, time.Minute, time.Second}},
		true:  {{time.Hour}, {time.Hour, time.Minute}, {time.Hour, time.Minute, time.Second}},
	}[hasDays]
	if len(parts) > len(units) {
		return 0, false
	}
	ok = true
	add := func(number string, unit time.Duration) {
		// More than 27 years, longer than any real limit.
		const most = 10000 * 24 * time.Hour
		n, err := strconv.ParseUint(number, 10, 32)
		ok = ok && err == nil && n <= uint64(most/unit)
		if limit += time.Duration(n) * unit; limit > most || !ok {
			limit, ok = 0, false
		}
	}
	add(days, 24*time.Hour)
	for i, unit := range units[len(parts)-1] {
		add(parts[i], unit)
	}
	return limit, ok
}
