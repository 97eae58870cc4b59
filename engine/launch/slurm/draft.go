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

// draft is a job that has not been submitted yet.
type draft struct {
	stages    []string
	group     string   // method.Stage.Group of the stages of an array
	array     []int    // like job.Array
	after     []int    // indices of the drafts whose jobs must succeed first
	afterJobs []string // ids of the jobs in the queue that must succeed first
}

// name returns the name of a draft: that of its first stage or, for an array, its group.
func (d draft) name() string {
	if d.array != nil {
		return d.group
	}
	return d.stages[0]
}

// drafts groups stages into jobs: the modules of a method form one array, a stage that does
// not train is in one job with the stage that needs it, and each other stage has its own job.
// queued holds the jobs of the stages that are already in the queue; all stages that are in
// neither argument are done.
func drafts(stages []method.Stage, queued map[string]string) []draft {
	var all []draft
	draftOf := map[string]int{}   // draft of each stage
	array := map[string]int{}     // draft of each group
	untrained := map[string]int{} // draft of each stage that does not train
	for _, s := range stages {
		i, ok := array[s.Group]
		if s.Group == "" && len(s.Needs) > 0 {
			i, ok = untrained[s.Needs[0]]
		}
		if !ok {
			i = len(all)
			all = append(all, draft{group: s.Group})
		}
		d := &all[i]
		d.stages = append(d.stages, s.Name)
		if s.Group != "" {
			array[s.Group] = i
			d.array = append(d.array, s.Module)
		}
		if !s.Trains() {
			untrained[s.Name] = i
		}
		draftOf[s.Name] = i
		for _, need := range append(slices.Clone(s.Needs), s.After...) {
			if other, ok := draftOf[need]; ok {
				if other != i && !slices.Contains(d.after, other) {
					d.after = append(d.after, other)
				}
			} else if id, ok := queued[need]; ok && !slices.Contains(d.afterJobs, id) {
				d.afterJobs = append(d.afterJobs, id)
			}
		}
	}
	return all
}

// jobSetup holds the properties that are common to the jobs of a run.
type jobSetup struct {
	dir        string // absolute path of the run folder
	folder     string // working directory of the jobs
	executable string
	options    presets.Slurm
}

// arguments returns the arguments of sbatch for a draft. ids are the job ids of the earlier
// drafts. If hold is true, the job is submitted in held state.
func (p jobSetup) arguments(d draft, ids []string, hold bool) []string {
	o := p.options
	// A percent sign begins a filename pattern of sbatch.
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
		"--kill-on-invalid-dep=yes", // otherwise it would wait forever
		"--export=" + strings.Join(exportedVariables(), ","),
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
	after := slices.Clone(d.afterJobs)
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

// passedVariables are the environment variables that jobs get. Other variables may be secrets,
// and Slurm stores a job's environment where administrators can read it.
var passedVariables = append(library.Variables(),
	"HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "SLURM_CONF",
	"XDG_DATA_HOME", "XDG_CACHE_HOME", // folders of data sets and of their listings
	"HATCHERY_ISA",
)

func exportedVariables() []string {
	var names []string
	for _, name := range passedVariables {
		if _, ok := os.LookupEnv(name); ok {
			names = append(names, name)
		}
	}
	if names == nil {
		return []string{"PATH"} // an empty list would pass all variables
	}
	return names
}

// script returns the batch script of a job. The program replaces the shell (exec), because
// Slurm sends signals to the batch shell.
func (p jobSetup) script(d draft) string {
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

// DryRun returns a shell script with the commands that Start would execute for a new run in
// dir. In place of job ids, which only Slurm assigns, it uses shell variables.
func DryRun(c *presets.Config, dir string) (string, error) {
	p, err := newJobSetup(dir, "", c)
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
				word = a // contains shell variables of this script
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

// newJobSetup returns the setup for the jobs of the run in dir. folder is the working
// directory of earlier jobs; "" means the current directory.
func newJobSetup(dir, folder string, c *presets.Config) (jobSetup, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return jobSetup{}, fmt.Errorf("slurm: %w", err)
	}
	if strings.Contains(abs, `\`) {
		return jobSetup{}, fmt.Errorf("slurm: %q contains a backslash, which Slurm cannot handle in the names of output files; give the folder another name", abs)
	}
	if folder == "" {
		if folder, err = os.Getwd(); err != nil {
			return jobSetup{}, fmt.Errorf("slurm: %w", err)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return jobSetup{}, fmt.Errorf("slurm: cannot find the executable of this program: %w", err)
	}
	if strings.Contains(exe, "/go-build") {
		return jobSetup{}, fmt.Errorf("slurm: %s will not exist any more when the jobs start: build hatchery with go build, in a folder that the nodes can see, and use that executable", exe)
	}
	for _, path := range []string{abs, folder, exe} {
		if strings.ContainsAny(path, "\n\r\x00") {
			return jobSetup{}, fmt.Errorf("slurm: %q contains a line break, which Slurm would take for the end of the path", path)
		}
	}
	return jobSetup{dir: abs, folder: folder, executable: exe, options: c.Launch.Slurm}, nil
}
