package slurm

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The output of squeue is read line by line, each job under its id. Lines that a site adds are
// ignored.
func FuzzSqueue(f *testing.F) {
	f.Add("12|RUNNING|None|n1\n13_2|PENDING|(Dependency)|\nnote of the site\n14|FAILED|NonZeroExitCode|n2\n")
	f.Add("12|RUNNING|None|n1|more\r\n|||\n12|PENDING|DependencyNeverSatisfied|\n")
	f.Add("slurm_load_jobs error: Invalid job id specified\n")
	f.Fuzz(func(t *testing.T, out string) {
		known := parseQueue(out)
		for id, p := range known {
			if p.Job != id || strings.ContainsAny(p.Job+p.State+p.Reason+p.Node, "|\n") {
				t.Errorf("%q: %+v", id, p)
			}
			if p.Lost() && p.Active() || p.String() == "" {
				t.Errorf("%q: %+v is %q", id, p, p)
			}
			// Its line alone, after arbitrary text, gives the same.
			again := parseQueue(out + "\n" + strings.Join([]string{id, p.State, p.Reason, p.Node}, "|"))
			if again[id] != p || len(again) != len(known) {
				t.Errorf("%+v became %+v", p, again[id])
			}
		}
	})
}

// The output of scontrol determines the disposition of the job, or the error names what is
// missing.
func FuzzScontrol(f *testing.F) {
	f.Add("JobId=7 JobName=x Restarts=0 JobState=RUNNING Reason=None", "")
	f.Add("JobId=7 Restarts=2 JobState=COMPLETING", "1")
	f.Add("JobName=Restarts=9 Restarts=1 JobState=PENDING", "x")
	f.Add("slurm_load_jobs error: Invalid job id specified", "0")
	f.Fuzz(func(t *testing.T, out, restarted string) {
		got, err := parseDisposition(out, restarted)
		if err != nil && (got != Ends || !strings.Contains(err.Error(), "scontrol")) {
			t.Errorf("%q: %v, %v", out, got, err)
		}
		// The first occurrence of a key counts, not one in a later name or comment.
		for state, want := range map[string]Disposition{"RUNNING": Continues, "PENDING": Requeued, "REQUEUED": Requeued, "COMPLETING": Ends, "FAILED": Ends} {
			if got, err := parseDisposition("Restarts=1 JobState="+state+" "+out, "1"); err != nil || got != want {
				t.Errorf("%s, then %q: %v, %v", state, out, got, err)
			}
			if got, err := parseDisposition("Restarts=1 JobState="+state+" "+out, "0"); err != nil || got != Requeued {
				t.Errorf("%s and restarted, then %q: %v, %v", state, out, got, err)
			}
		}
	})
}

// task matches the id of a job or of an array task.
var task = regexp.MustCompile(`^[0-9]+(_[0-9]+)?$`)

// slurm.json is read back as it was written and has a job for every stage in it, or the error
// names the file.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"folder":"/a","submissions":[{"time":"2026-01-31T14:23:01Z","released":true,"jobs":[{"id":"12","stages":["meta"]},{"id":"13","stages":["module-1","module-2"],"array":[1,2]}]}]}`))
	f.Add([]byte(`{"submissions":[{"jobs":[{"id":"13","stages":["module-1","module-2"],"array":[1]}]}]}`))
	f.Add([]byte(`{"submissions":[{"jobs":[{"id":"../../x","stages":["meta"]},{"id":"--help","stages":["e2e"]},{"stages":["a"]}]}]}`))
	f.Add([]byte("null"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, recordFile)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRecord(dir)
		if err != nil || r == nil {
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name %s: %v", path, err)
			}
			return
		}
		jobs, err := Jobs(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Submissions {
			for _, j := range s.Jobs {
				for _, stage := range j.Stages {
					if !task.MatchString(jobs[stage]) {
						t.Errorf("%s is job %q", stage, jobs[stage])
					}
				}
			}
		}
		if _, err := Outputs(dir); err != nil {
			t.Error(err)
		}
		if err := writeRecord(dir, r); err != nil {
			t.Fatal(err)
		}
		if again, err := readRecord(dir); err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", r) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}

// The output of sbatch has the id of the submitted job, or is refused.
func FuzzSbatch(f *testing.F) {
	f.Add("12\n")
	f.Add("12;cluster\n")
	f.Add("welcome to the cluster\n12\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, out string) {
		id, err := parseJobID(out)
		if (err == nil) != number.MatchString(id) || err == nil && !strings.Contains(out, id) {
			t.Errorf("%q is job %q, %v", out, id, err)
		}
		for _, cluster := range []string{"", ";here"} {
			if id, err := parseJobID(out + "\n12345" + cluster + "\n"); err != nil || id != "12345" {
				t.Errorf("%q and a job after it: %q, %v", out, id, err)
			}
		}
	})
}
