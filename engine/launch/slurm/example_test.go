package slurm_test

import (
	"context"
	"fmt"
	"log"

	"hatchery/engine/launch/slurm"
	"hatchery/presets"
)

func Example() {
	c, err := presets.Load("quickstart", []string{"slurm.partition=gpu"})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	dir, err := slurm.Start(ctx, "runs", c) // jobs that wait for one another
	if err != nil {
		log.Fatal(err)
	}
	places, err := slurm.StageJobs(ctx, dir) // where each stage is
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(places)
	if err := slurm.Stop(ctx, dir, nil); err != nil { // checkpoints first
		log.Fatal(err)
	}
	if _, err := slurm.Resume(ctx, dir, c); err != nil { // submits what is missing
		log.Fatal(err)
	}
}
