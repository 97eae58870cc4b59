package launch_test

import (
	"context"
	"log"

	"hatchery/engine/launch"
	"hatchery/presets"
)

func Example() {
	c, err := presets.Load("quickstart", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	dir, err := launch.Start(ctx, "runs", c, false) // returns when the run is under way
	if err != nil {
		log.Fatal(err)
	}
	if _, err := launch.Pause(ctx, dir); err != nil { // returns when it idles
		log.Fatal(err)
	}
	if _, err := launch.Stop(ctx, dir); err != nil { // returns when its checkpoint is on disk
		log.Fatal(err)
	}
	if err := launch.Resume(ctx, dir, false); err != nil {
		log.Fatal(err)
	}
}
