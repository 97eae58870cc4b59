package runs_test

import (
	"log"
	"os"
	"time"

	"hatchery/engine/runs"
	"hatchery/engine/runs/safetensors"
)

// Example writes a run of one stage.
func Example() {
	root, err := os.MkdirTemp("", "runs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)
	run, err := runs.Create(root, runs.NewID("quickstart", time.Now()), []byte("schedule = \"2+5\"\n"))
	if err != nil {
		log.Fatal(err)
	}
	defer run.Close()
	if err := run.Emit(runs.Event{Kind: runs.StageStart, Stage: "meta", Epochs: 15, Steps: 1500}); err != nil {
		log.Fatal(err)
	}
	weights := []safetensors.Tensor{{Name: "head.bias", Shape: []int{10}, Data: make([]float32, 10)}}
	c := &runs.Checkpoint{Stage: "meta", Epoch: 15, Step: 1500, Tensors: weights, Score: 0.8}
	if err := run.Save(c); err != nil {
		log.Fatal(err)
	}
	if err := run.FinishStage(c, runs.Values{runs.Top1: 0.8}); err != nil {
		log.Fatal(err)
	}
	if err := run.Finish(runs.Finished, ""); err != nil {
		log.Fatal(err)
	}
	// Output:
}
