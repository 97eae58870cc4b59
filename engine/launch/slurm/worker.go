package slurm

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// JobID returns the id of the job or the array task of this process, "" outside Slurm. For a
// task, it is "array_index", which identifies only that task. SLURM_JOB_ID does not: in the
// last task to start, it is the id of the whole array.
func JobID() string {
	if array := os.Getenv("SLURM_ARRAY_JOB_ID"); array != "" {
		return array + "_" + os.Getenv("SLURM_ARRAY_TASK_ID")
	}
	return os.Getenv("SLURM_JOB_ID")
}

// Threads returns the number of CPUs that are allocated to this job, 0 if it is unknown.
func Threads() int {
	for _, name := range []string{"SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"} {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

// HasGPUs reports whether GPUs are allocated to this job. A job without GPUs may still see
// those of other jobs, depending on the site.
func HasGPUs() bool {
	for _, name := range []string{"SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"} {
		if v := os.Getenv(name); v != "" && v != "NoDevFiles" { // old versions of Slurm set this if there are none
			return true
		}
	}
	return false
}

// Requeue makes Slurm end this process and start the job again.
func Requeue(ctx context.Context) error {
	_, err := command(ctx, "", "scontrol", "requeue", JobID())
	return err
}

// Disposition tells what Slurm will do with a job that got a signal to end.
type Disposition string

// The dispositions of a job.
const (
	Continues Disposition = "continues" // Slurm lets it run, if it still can
	Requeued  Disposition = "requeued"  // Slurm will start it again
	Ends      Disposition = "ends"
)

// AfterSignal asks Slurm for the disposition of this job after a signal.
func AfterSignal(ctx context.Context) (Disposition, error) {
	out, err := command(ctx, "", "scontrol", "--oneliner", "show", "job", JobID())
	if err != nil {
		return Ends, err
	}
	return parseDisposition(out, os.Getenv("SLURM_RESTART_COUNT"))
}

// parseDisposition determines the disposition of a job from the output of scontrol. restarted
// is the number of restarts when this process started.
func parseDisposition(out, restarted string) (Disposition, error) {
	facts := map[string]string{}
	for word := range strings.FieldsSeq(out) {
		if key, value, ok := strings.Cut(word, "="); ok {
			if _, seen := facts[key]; !seen {
				facts[key] = value
			}
		}
	}
	now, err := strconv.Atoi(facts["Restarts"])
	if err != nil {
		return Ends, fmt.Errorf("slurm: the output of scontrol lacks the number of restarts of the job: %w", err)
	}
	before, _ := strconv.Atoi(restarted) // restarted is "" before the first restart
	switch {
	case now > before || facts["JobState"] == "PENDING" || facts["JobState"] == "REQUEUED":
		return Requeued, nil
	case facts["JobState"] == "RUNNING":
		return Continues, nil
	}
	return Ends, nil
}
