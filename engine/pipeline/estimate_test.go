package pipeline

import (
	"context"
	"errors"
	"testing"
	"time"

	"hatchery/presets"
)

// TestPlanStops checks that planning a deep network ends soon after its context is done.
func TestPlanStops(t *testing.T) {
	for _, device := range []string{"cpu", "cuda:0"} {
		c, err := presets.Load("quickstart", []string{"run.device=" + device, "model.depth=4096"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if _, err := Plan(ctx, c, 5000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the context's error", device, err)
		}
		t.Logf("%s: %v", device, time.Since(begin))
	}
}
