package slurm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hatchery/engine/cuda/library"
	"hatchery/engine/method"
	"hatchery/engine/printable"
	"hatchery/presets"
)

// draft is a job to be.
type draft struct {
	stages []string
	group  string   // of an array, method.Stage.Group
	array  []int    // as job.Array
	after  []int    // drafts that must have succeeded before
	behind []string // likewise, jobs that are in the queue already
}

// name is what a draft's job does: its stage or, of an array, what its stages have
// in common.
func (d draft) name() string {
	if d.array != nil {
		return d.group
	}
	return d.stages[0]
}

// drafts puts the stages that are to be submitted into jobs: the modules of a
// method into one array, a stage that does not train into one job with the stage
// that needs it, and each other stage into its own. queued names the jobs of stages
// that are in the queue; every other stage is done.
func drafts(stages []method.Stage, queued map[string]string) []draft {
	var all []draft
	in := map[string]int{}    // the draft of a stage
	array := map[string]int{} // the draft of a group
	brief := map[string]int{} // the draft of a stage that does not train
	for _, s := range stages {
		at, ok := array[s.Group]
		if s.Group == "" && len(s.Needs) > 0 {
			at, ok = brief[s.Needs[0]]
		}
		if !ok {
			at = len(all)
			all = append(all, draft{group: s.Group})
		}
		d := &all[at]
		d.stages = append(d.stages, s.Name)
		if s.Group != "" {
			array[s.Group] = at
			d.array = append(d.array, s.Module)
		}
		if !s.Trains() {
			brief[s.Name] = at
		}
		in[s.Name] = at
		for _, need := range append(slices.Clone(s.Needs), s.After...) {
			if other, ok := in[need]; ok {
				if other != at && !slices.Contains(d.after, other) {
					d.after = append(d.after, other)
				}
			} else if id, ok := queued[need]; ok && !slices.Contains(d.behind, id) {
				d.behind = append(d.behind, id)
			}
		}
	}
	return all
}

// place is what the jobs of a run have in common.
type place struct {
	dir        string // the run's, absolute
	folder     string // in which the jobs begin
	executable string
	options    presets.Slurm
}

// arguments are sbatch's for a draft. ids are those of the drafts before it;
// hold keeps it back.
func (p place) arguments(d draft, ids []string, hold bool) []string {
	o := p.options
	// A pattern of sbatch's begins with a percent sign.
	log := filepath.Join(strings.ReplaceAll(p.dir, "%", "%%"), attemptsDir, "slurm-%j.out")
	if d.array != nil {
		log = filepath.Join(filepath.Dir(log), "slurm-%A_%a.out")
	}
	args := []string{
		"--parsable",
		"--job-name=" + filepath.Base(p.dir) + "." + d.name(),
		"--output=" + log, "--open-mode=append",
		"--chdir=" + p.folder,
		"--nodes=1", "--ntasks=1",
		"--requeue",
		fmt.Sprintf("--signal=B:USR1@%.0f", presets.SlurmNotice.Seconds()),
		"--kill-on-invalid-dep=yes", // or it would wait for ever
		"--export=" + strings.Join(exported(), ","),
	}
	for _, w := range []struct{ option, value string }{
		{"partition", o.Partition}, {"account", o.Account}, {"qos", o.QOS}, {"constraint", o.Constraint},
		{"time", o.Time}, {"gres", o.GRES}, {"mem", o.Mem},
	} {
		if w.value != "" {
			args = append(args, "--"+w.option+"="+w.value)
		}
	}
	if o.CPUs > 0 {
		args = append(args, fmt.Sprintf("--cpus-per-task=%d", o.CPUs))
	}
	if d.array != nil {
		array := make([]string, len(d.array))
		for i, n := range d.array {
			array[i] = fmt.Sprint(n)
		}
		list := strings.Join(array, ",")
		if o.Parallel > 0 {
			list += fmt.Sprintf("%%%d", o.Parallel)
		}
		args = append(args, "--array="+list)
	}
	after := slices.Clone(d.behind)
	for _, i := range d.after {
		after = append(after, ids[i])
	}
	if len(after) > 0 {
		args = append(args, "--dependency=afterok:"+strings.Join(after, ":"))
	}
	if hold {
		args = append(args, "--hold")
	}
	return append(args, o.Extra...)
}

// passed are the variables of the environment that jobs get. Others may be
// secrets; Slurm keeps what a job is given where its administrators read it.
var passed = append(library.Variables(),
	"HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "SLURM_CONF",
	"XDG_DATA_HOME", "XDG_CACHE_HOME", // where data sets and listings of them are
	"HATCHERY_ISA",
)

func exported() []string {
	var there []string
	for _, name := range passed {
		if _, ok := os.LookupEnv(name); ok {
			there = append(there, name)
		}
	}
	if there == nil {
		return []string{"PATH"} // an empty list would mean everything
	}
	return there
}

// script is what a job executes. The program takes the shell's place, to which
// Slurm sends its signals.
func (p place) script(d draft) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\nexec %s stage --slurm -- %s", printable.Word(p.executable), printable.Word(p.dir))
	if d.array != nil {
		fmt.Fprintf(&b, " %s\"$SLURM_ARRAY_TASK_ID\"", printable.Word(d.group+"-"))
	} else {
		for _, s := range d.stages {
			b.WriteString(" " + printable.Word(s))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// DryRun writes what Submit would execute for a new run in dir, as a shell script.
// Jobs are named by what they are for, whose ids only Slurm can tell.
func DryRun(c *presets.Config, dir string) (string, error) {
	p, err := newPlace(dir, "", c)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh -e\n")
	var ids, names []string
	for _, d := range drafts(method.Stages(c), nil) {
		name := strings.ReplaceAll(d.name(), "-", "_")
		hold := len(d.after) == 0
		var words []string
		for _, a := range p.arguments(d, ids, hold) {
			word := printable.Word(a)
			if strings.HasPrefix(a, "--dependency=") {
				word = a // names of variables of this script
			}
			words = append(words, word)
		}
		fmt.Fprintf(&b, "\n%s=$(sbatch %s <<'EOF'\n%sEOF\n)\n", name, strings.Join(words, " \\\n\t"), p.script(d))
		ids = append(ids, "$"+name)
		if hold {
			names = append(names, "$"+name)
		}
	}
	fmt.Fprintf(&b, "\nscontrol release %s\n", strings.Join(names, " "))
	return b.String(), nil
}

// newPlace is where the jobs of a run begin; folder is where earlier ones did,
// "" for the present one.
func newPlace(dir, folder string, c *presets.Config) (place, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return place{}, fmt.Errorf("slurm: %w", err)
	}
	if strings.Contains(abs, `\`) {
		return place{}, fmt.Errorf("slurm: %q contains a backslash, which Slurm cannot handle in the names of output files; give the folder another name", abs)
	}
	if folder == "" {
		if folder, err = os.Getwd(); err != nil {
			return place{}, fmt.Errorf("slurm: %w", err)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return place{}, fmt.Errorf("slurm: this program cannot be found to be started by jobs: %w", err)
	}
	if strings.Contains(exe, "/go-build") {
		return place{}, fmt.Errorf("slurm: %s is gone when the jobs begin: build hatchery with go build, in a folder that the nodes see, and submit with that", exe)
	}
	for _, path := range []string{abs, folder, exe} {
		if strings.ContainsAny(path, "\n\r\x00") {
			return place{}, fmt.Errorf("slurm: %q holds a line break, which Slurm would take for the end of the path", path)
		}
	}
	return place{dir: abs, folder: folder, executable: exe, options: c.Launch.Slurm}, nil
}
