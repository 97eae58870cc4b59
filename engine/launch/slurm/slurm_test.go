package slurm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/method"
	"hatchery/engine/runs"
	"hatchery/presets"
)

func config(t *testing.T, sets ...string) *presets.Config {
	t.Helper()
	c, err := presets.Load("quickstart", append([]string{"modules.k=2", "run.together=false", "run.equal=epochs"}, sets...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDrafts(t *testing.T) {
	c := config(t, `run.methods=["assembling","imitation","e2e"]`)
	all := method.Stages(c)
	some := func(names ...string) []method.Stage {
		return slices.DeleteFunc(slices.Clone(all), func(s method.Stage) bool { return !slices.Contains(names, s.Name) })
	}
	for _, x := range []struct {
		name   string
		stages []method.Stage
		queued map[string]string
		want   string
	}{
		{"everything", all, nil, "meta; module-1 module-2 [1 2] after 0; assemble finetune after 1; " +
			"imitation-1 imitation-2 [1 2] after 0; assemble-imitation finetune-imitation after 3; e2e"},
		{"a module failed, the rest was called off", some("module-2", "assemble", "finetune"), nil,
			"module-2 [2]; assemble finetune after 0"},
		{"while another one trains", some("module-1", "assemble", "finetune"), map[string]string{"module-2": "7_2"},
			"module-1 [1]; assemble finetune after 0 behind 7_2"},
		{"only the end", some("finetune"), nil, "finetune"},
		{"modules behind the meta model", some("module-1", "module-2"), map[string]string{"meta": "5"}, "module-1 module-2 [1 2] behind 5"},
		{"at the cost of the first", method.Stages(config(t, "run.equal=cost")), nil,
			"meta; module-1 module-2 [1 2] after 0; assemble finetune after 1; e2e after 0 1 2"},
	} {
		var words []string
		for _, d := range drafts(x.stages, x.queued) {
			word := strings.Join(d.stages, " ")
			if d.array != nil {
				word += fmt.Sprint(" ", d.array)
			}
			if d.after != nil {
				word += " after " + strings.Trim(fmt.Sprint(d.after), "[]")
			}
			if d.afterJobs != nil {
				word += " behind " + strings.Join(d.afterJobs, " ")
			}
			words = append(words, word)
		}
		if got := strings.Join(words, "; "); got != x.want {
			t.Errorf("%s:\n%s, want\n%s", x.name, got, x.want)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Setenv("SECRET", "x")
	p := jobSetup{dir: `/runs of "100%" & it's/q-1`, folder: "/my data", executable: "/opt/it's/hatchery",
		options: presets.Slurm{Partition: "gpu", Time: "4:00:00", GRES: "gpu:1", CPUs: 8, Mem: "16G", Parallel: 3, Extra: []string{"--exclude=n1,n2"}}}
	got := p.arguments(draft{stages: []string{"module-1", "module-3"}, group: "module", array: []int{1, 3}, after: []int{0}, afterJobs: []string{"9_2"}}, []string{"7"}, false)
	for _, want := range []string{"--parsable", "--job-name=q-1.module", `--output=/runs of "100%%" & it's/q-1/attempts/slurm-%A_%a.out`, "--open-mode=append",
		"--chdir=/my data", "--requeue", "--signal=B:USR1@120", "--kill-on-invalid-dep=yes", "--partition=gpu", "--time=4:00:00", "--gres=gpu:1",
		"--cpus-per-task=8", "--mem=16G", "--array=1,3%3", "--dependency=afterok:9_2:7", "--exclude=n1,n2"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	for _, a := range got {
		if strings.HasPrefix(a, "--hold") || strings.HasPrefix(a, "--account") || strings.Contains(a, "SECRET") || a == "--export=ALL" {
			t.Errorf("%s in %q", a, got)
		}
	}
	if got := p.arguments(draft{stages: []string{"meta"}}, nil, true); !slices.Contains(got, "--hold") || slices.ContainsFunc(got, func(a string) bool {
		return strings.HasPrefix(a, "--array") || strings.HasPrefix(a, "--dependency")
	}) {
		t.Errorf("a job alone: %q", got)
	}
}

// TestScript executes the script of a job in a shell.
func TestScript(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, `a "program" of $HOME, it's`)
	if err := os.WriteFile(program, []byte("#!/bin/sh\nfor w in \"$@\"; do echo \"<$w>\"; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := jobSetup{dir: `/r "x" $(false) & it's`, executable: program}
	for _, x := range []struct {
		draft
		want string
	}{
		{draft{stages: []string{"assemble", "finetune"}}, "<assemble>\n<finetune>\n"},
		{draft{stages: []string{"imitation-2"}, group: "imitation", array: []int{2}}, "<imitation-2>\n"},
	} {
		cmd := exec.Command(sh)
		cmd.Env = []string{"SLURM_ARRAY_TASK_ID=2"}
		cmd.Stdin = strings.NewReader(p.script(x.draft))
		out, err := cmd.CombinedOutput()
		if want := "<stage>\n<--slurm>\n<-->\n<" + p.dir + ">\n" + x.want; err != nil || string(out) != want {
			t.Errorf("%v: %v\n%s, want\n%s", x.stages, err, out, want)
		}
	}
}

func TestParseQueue(t *testing.T) {
	got := parseQueue("12|RUNNING|None|n1\n13_2|PENDING|(Dependency)|\nnote of the site\n14|FAILED|NonZeroExitCode|n2\n")
	for id, want := range map[string]string{"12": "running on n1", "13_2": "pending (Dependency)", "14": "failed (NonZeroExitCode)"} {
		if got[id].String() != want {
			t.Errorf("%s is %s, want %s", id, got[id], want)
		}
	}
	if len(got) != 3 || !got["13_2"].Active() || got["14"].Active() {
		t.Errorf("%+v", got)
	}
	if p := (StageJob{State: "PENDING", Reason: "DependencyNeverSatisfied"}); p.Active() {
		t.Error("waits for what will not happen, and is active")
	}
	if p := (StageJob{}); !p.Lost() || p.Active() || p.String() != "lost" {
		t.Error("a job that nobody knows is not lost")
	}
}

func TestFate(t *testing.T) {
	for _, x := range []struct {
		out, restarted string
		want           Disposition
	}{
		{"JobId=1 JobState=RUNNING Reason=None Restarts=0", "", Continues},
		{"JobId=1 JobState=RUNNING Restarts=2", "2", Continues},
		{"JobId=1 JobState=PENDING Restarts=1", "", Requeued},
		{"JobId=1 JobState=COMPLETING Restarts=1", "", Requeued},
		{"JobId=1 JobState=COMPLETING Restarts=3", "3", Ends},
		{"JobId=1 JobState=CANCELLED Restarts=0 Comment=Restarts=7", "", Ends},
	} {
		if got, err := parseDisposition(x.out, x.restarted); err != nil || got != x.want {
			t.Errorf("%s: %s, %v; want %s", x.out, got, err, x.want)
		}
	}
	if _, err := parseDisposition("slurm_load_jobs error", ""); err == nil {
		t.Error("nothing is known, and that is no error")
	}
}

// TestExported checks that a job gets the environment variables that locate data sets and
// libraries, and no others.
func TestExported(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/data")
	t.Setenv("CONDA_PREFIX", "/conda")
	t.Setenv("WANDB_API_KEY", "secret")
	got := exportedVariables()
	if !slices.Contains(got, "XDG_DATA_HOME") || !slices.Contains(got, "CONDA_PREFIX") || slices.Contains(got, "WANDB_API_KEY") {
		t.Errorf("jobs get %q", got)
	}
}

func TestGPUs(t *testing.T) {
	for _, x := range []struct {
		job, visible string
		want         bool
	}{{"", "", false}, {"0", "0", true}, {"3", "", true}, {"", "GPU-5a", true}, {"", "NoDevFiles", false}} {
		t.Setenv("SLURM_JOB_GPUS", x.job)
		t.Setenv("CUDA_VISIBLE_DEVICES", x.visible)
		if got := HasGPUs(); got != x.want {
			t.Errorf("%+v: %v", x, got)
		}
	}
}

func TestEnviron(t *testing.T) {
	got := environ([]string{"PATH=/bin", "SLURM_CONF=/c", "SLURM_JOB_ID=3", "SLURM_MEM_PER_NODE=9", "SBATCH_PARTITION=x", "SQUEUE_FORMAT=y", "SLURMY=1"})
	if want := []string{"PATH=/bin", "SLURM_CONF=/c", "SLURMY=1", "SLURM_TIME_FORMAT=standard"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// fake replaces Slurm's commands. Each writes its name and arguments to a file; sbatch counts
// its calls and fails at the given one.
func fake(t *testing.T, failing string) (calls func() string) {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	for name, body := range map[string]string{
		"sbatch": `cat >/dev/null; n=$(grep -c "^sbatch" "` + log + `"); [ "$n" = "` + failing + `" ] && { echo "no such partition" >&2; exit 1; }; echo "10$n;cluster"`,
		"squeue": "", "scancel": `[ $# -gt 1 ] || { echo "No job identification provided" >&2; exit 1; }`, "scontrol": `[ "` + failing + `" = release ] && { echo "refused" >&2; exit 1; }; exit 0`,
	} {
		text := "#!/bin/sh\necho \"" + name + " $*\" >> \"" + log + "\"\n" + body + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		text, _ := os.ReadFile(log)
		return string(text)
	}
}

// newFolder creates a run that is not open in any process.
func newFolder(t *testing.T, c *presets.Config) string {
	t.Helper()
	run, err := runs.Create(t.TempDir(), "run", c.TOML())
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
	return run.Dir()
}

// TestAllOrNothing checks that if one job of a run is refused, none is left.
func TestAllOrNothing(t *testing.T) {
	for failing, held := range map[string]string{"1": "", "3": "101 102", "release": "101 102 103 104"} {
		t.Run("failing "+failing, func(t *testing.T) {
			calls := fake(t, failing)
			c := config(t)
			dir := newFolder(t, c)
			r := &record{Folder: "/"}
			err := r.submit(t.Context(), jobSetup{dir: dir, folder: "/", executable: "/hatchery"}, drafts(method.Stages(c), nil), nil)
			if err == nil || !strings.Contains(err.Error(), "no such partition") && !strings.Contains(err.Error(), "refused") {
				t.Fatalf("submitted: %v", err)
			}
			if strings.Contains(err.Error(), "left held") {
				t.Errorf("jobs are said to be left: %v", err)
			}
			if held != "" && !strings.Contains(calls(), "scancel --quiet "+held+"\n") {
				t.Errorf("jobs %s are not taken back:\n%s", held, calls())
			}
			if left, err := readRecord(dir); err != nil || left != nil && len(left.Submissions) > 0 {
				t.Errorf("recorded as submitted: %+v, %v", left, err)
			}
			if s, err := runs.ReadStatus(dir); err != nil || s.Phase == runs.Submitted {
				t.Errorf("the run is %s, %v", s.Phase, err)
			}
			// Jobs that depend on others need not be held.
			if n := strings.Count(calls(), " --hold"); n > 2 {
				t.Errorf("%d jobs are held", n)
			}
		})
	}
}

// TestSubmitted submits a run, and then again only the stages that are not in the queue.
func TestSubmitted(t *testing.T) {
	calls := fake(t, "")
	c := config(t)
	dir := newFolder(t, c)
	// A process that died during a submission has left a held job.
	died := &record{Folder: "/", Submissions: []submission{{Jobs: []job{{ID: "99", Stages: []string{"meta"}}}}}}
	if err := writeRecord(dir, died); err != nil {
		t.Fatal(err)
	}
	r, err := readRecord(dir)
	if err == nil {
		err = r.withdraw(t.Context(), dir)
	}
	if err != nil || !strings.Contains(calls(), "scancel --quiet 99\n") {
		t.Fatalf("not withdrawn: %v\n%s", err, calls())
	}
	if err := r.submit(t.Context(), jobSetup{dir: dir, folder: "/", executable: "/hatchery"}, drafts(method.Stages(c), nil), nil); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(calls(), "scontrol release 101 104\n") {
		t.Errorf("the last call does not release what is held:\n%s", calls())
	}
	for i, of := range []struct{ stage, id string }{{"meta", "101"}, {"module-2", "102_2"}, {"finetune", "103"}, {"e2e", "104"}} {
		if got := r.Submissions[0].Jobs[i].taskFor(of.stage); got != of.id || r.Submissions[0].Jobs[i].taskFor("x") != "" {
			t.Errorf("%s is job %q, want %q", of.stage, got, of.id)
		}
	}
	if jobs, err := Jobs(dir); err != nil || len(jobs) != 6 || jobs["module-2"] != "102_2" || jobs["assemble"] != "103" {
		t.Errorf("the jobs are %v, %v", jobs, err)
	}
	// Outputs lists the output of jobs only until their stages have logs.
	for _, id := range []string{"101", "103", "102_1"} {
		file := filepath.Join(dir, "attempts", "slurm-"+id+".out")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("exec: hatchery: not found\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	begun, err := runs.OpenStage(t.Context(), dir, "module-1", runs.Claim{Job: "102_1"})
	if err == nil {
		err = begun.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := Outputs(dir)
	if err != nil || len(outputs) != 3 || outputs["assemble"] != outputs["finetune"] || !strings.HasSuffix(outputs["meta"], "attempts/slurm-101.out") {
		t.Errorf("outputs %q, %v", outputs, err)
	}
	if s, err := runs.ReadStatus(dir); err != nil || s.Phase != runs.Submitted {
		t.Errorf("the run is %s, %v", s.Phase, err)
	}
	places, err := StageJobs(t.Context(), dir)
	if err != nil || len(places) != 6 || !places[0].Lost() {
		t.Errorf("nobody knows the jobs: %+v, %v", places, err)
	}
	if err := Stop(t.Context(), dir, nil); !errors.Is(err, ErrNotActive) {
		t.Errorf("stopped what is lost: %v", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := Stop(t.Context(), dir, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("two at a time: %v", err)
	}
}

func TestGoRun(t *testing.T) {
	_, err := newJobSetup("runs/x", "", config(t))
	if err == nil || !strings.Contains(err.Error(), "go build") {
		t.Errorf("a program that is gone when the jobs begin: %v", err)
	}
}
