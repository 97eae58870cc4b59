package slurm

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Self is the job, or the task of an array, that this process is; "" outside of
// Slurm. It is the name by which one task is requeued: the last one to begin has
// the array's own number as its job's.
func Self() string {
	if array := os.Getenv("SLURM_ARRAY_JOB_ID"); array != "" {
		return array + "_" + os.Getenv("SLURM_ARRAY_TASK_ID")
	}
	return os.Getenv("SLURM_JOB_ID")
}

// Threads is the number of processors that this job was given, 0 if that is not
// known.
func Threads() int {
	for _, name := range []string{"SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"} {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

// GPUs says whether this job was given any. One that was not may see those of
// others, where nothing hides them.
func GPUs() bool {
	for _, name := range []string{"SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"} {
		if v := os.Getenv(name); v != "" && v != "NoDevFiles" { // which old Slurms say of none
			return true
		}
	}
	return false
}

// Requeue has Slurm start this job again, and end this process.
func Requeue(ctx context.Context) error {
	_, err := command(ctx, "", "scontrol", "requeue", Self())
	return err
}

// Fate is what will become of a job after a signal that asks it to end.
type Fate string

// Fates of a job.
const (
	Goes     Fate = "goes on"  // Slurm means it to go on, if it still can
	Requeued Fate = "requeued" // Slurm will start it again
	Ends     Fate = "ends"
)

// OwnFate asks Slurm what will become of this job.
func OwnFate(ctx context.Context) (Fate, error) {
	out, err := command(ctx, "", "scontrol", "--oneliner", "show", "job", Self())
	if err != nil {
		return Ends, err
	}
	return fate(out, os.Getenv("SLURM_RESTART_COUNT"))
}

// fate reads what scontrol says of a job, given how often it was restarted when
// this process began.
func fate(out, restarted string) (Fate, error) {
	facts := map[string]string{}
	for _, word := range strings.Fields(out) {
		if key, value, ok := strings.Cut(word, "="); ok {
			if _, there := facts[key]; !there {
				facts[key] = value
			}
		}
	}
	now, err := strconv.Atoi(facts["Restarts"])
	if err != nil {
		return Ends, fmt.Errorf("slurm: scontrol does not tell how often the job was restarted: %w", err)
	}
	before, _ := strconv.Atoi(restarted) // unset the first time
	switch {
	case now > before || facts["JobState"] == "PENDING" || facts["JobState"] == "REQUEUED":
		return Requeued, nil
	case facts["JobState"] == "RUNNING":
		return Goes, nil
	}
	return Ends, nil
}
