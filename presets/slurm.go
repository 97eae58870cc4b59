package presets

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// SlurmNotice is how long before its time limit a job is told of it, to save a
// checkpoint and to go on in another. Slurm may be a minute early.
const SlurmNotice = 2 * time.Minute

// slurmLeast is a time limit that leaves time for more than that.
const slurmLeast = 5 * time.Minute

// ownOptions of sbatch are set for every job, or would break what depends on them.
var ownOptions = []string{
	"array", "begin", "chdir", "clusters", "dependency", "error", "export", "export-file", "hold", "input", "job-name", "kill-on-invalid-dep",
	"no-kill", "no-requeue", "ntasks", "nodes", "open-mode", "output", "parsable", "quiet", "requeue", "signal", "test-only", "wait", "wrap",
}

// ownTables says which key stands for an option.
var ownTables = map[string]string{
	"partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint", "time": "time", "gres": "gres",
	"cpus-per-task": "cpus", "mem": "mem",
}

// slurm checks where modules find their data, and what sbatch would otherwise refuse, or take for something else.
func (v *validator) slurm() {
	if v.c.Launch.Parts != "" && !v.c.Data.Partition && v.uses("modular") {
		v.fail("launch.parts", "modules that train on all images cannot read parts of them", "set data.partition = true or launch.parts = \"\"")
	}
	if d := v.c.Data; v.c.Launch.Parts != "" && (d.Train != 0 || d.Fraction != 1) && v.uses("modular") {
		v.fail("launch.parts", "are parts of all images, and some of them only are asked for", "set data.train = 0 and data.fraction = 1, or launch.parts = \"\"")
	}
	s := v.c.Launch.Slurm
	key := func(k string) string { return "launch.slurm." + k }
	for _, w := range []struct{ key, value string }{
		{"partition", s.Partition}, {"account", s.Account}, {"qos", s.QOS}, {"constraint", s.Constraint}, {"gres", s.GRES},
	} {
		if !oneWord(w.value) {
			v.fail(key(w.key), "must be one word", "")
		}
	}
	if limit, ok := SlurmTime(s.Time); s.Time != "" && !ok {
		v.fail(key("time"), "is not a time limit", `"90" is minutes, "4:00:00" hours, minutes and seconds, "2-12" days and hours`)
	} else if ok && limit < slurmLeast {
		v.fail(key("time"), fmt.Sprintf("is too short: a job begins to stop %v before its end", SlurmNotice),
			fmt.Sprintf("give %.0f minutes or more", slurmLeast.Minutes()))
	}
	if s.Mem != "" && !slurmSize.MatchString(s.Mem) {
		v.fail(key("mem"), "is not a size", `"16G" is 16 GiB, "500M" MiB`)
	}
	v.count(key("cpus"), s.CPUs, 0, maxThreads, "0 leaves it to the cluster")
	v.count(key("array_parallelism"), s.Parallel, 0, maxSize, "0 lets all modules train at a time")
	for _, option := range s.Extra {
		name, _, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		switch {
		case !strings.HasPrefix(option, "--") || name == "" || strings.ContainsFunc(option, unicode.IsControl):
			v.fail(key("extra"), fmt.Sprintf("%q is not a long option of sbatch", shorten(option)), `write "--exclude=node7"`)
		case ownTables[name] != "":
			v.fail(key("extra"), fmt.Sprintf("--%s has a key of its own", name), "set "+key(ownTables[name]))
		case slices.Contains(ownOptions, name):
			v.fail(key("extra"), fmt.Sprintf("--%s is set by hatchery", name), "")
		}
	}
}

// oneWord says whether sbatch and squeue would take text as one word.
func oneWord(text string) bool {
	return !strings.HasPrefix(text, "-") && !strings.ContainsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) })
}

var slurmSize = regexp.MustCompile(`^[1-9][0-9]*[KMGT]?$`)

// SlurmTime reads a time limit as sbatch does: minutes, minutes:seconds,
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
		// This is more than 27 years, longer than any real limit.
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
