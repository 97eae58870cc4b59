package study_test

import (
	"context"
	"fmt"
	"log"

	"hatchery/engine/launch"
	"hatchery/engine/runs"
	"hatchery/engine/study"
	"hatchery/presets"
)

// Example runs a figure of the paper at a tenth of its length.
func Example() {
	definition, err := presets.LoadStudy("fig4")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	s, err := study.Create(ctx, "runs", definition, study.Options{Scale: 0.1})
	if err != nil {
		log.Fatal(err)
	}
	// Every cell that is not done yet, here; s.Detach does it in a process of its own.
	err = s.Execute(ctx, nil, func(ctx context.Context, _ study.Cell, c *presets.Config, run *runs.Run) error {
		return launch.Execute(ctx, c, run, launch.Options{})
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range s.Results(ctx) {
		fmt.Println(r.Name, s.Y(r))
	}
}
