package optim

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

func readGolden(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestScheduleEqualsTimm(t *testing.T) {
	var golden []struct {
		LR       float64   `json:"lr"`
		MinLR    float64   `json:"min_lr"`
		WarmupLR float64   `json:"warmup_lr"`
		Warmup   int       `json:"warmup"`
		Total    int       `json:"total"`
		PerEpoch int       `json:"per_epoch"`
		Start    int       `json:"start"`
		Lag      int       `json:"lag"`
		Rates    []float64 `json:"rates"`
	}
	readGolden(t, "schedule.json", &golden)
	for _, g := range golden {
		s := Schedule{g.LR, g.MinLR, g.WarmupLR, g.Warmup, g.Total, g.Start, g.Lag}
		if g.PerEpoch > 0 {
			s = s.PerStep(g.PerEpoch)
		}
		for i, want := range g.Rates {
			// 1 + cos cancels near the end, so the scale of the error is LR.
			if got := s.At(i); math.Abs(got-want) > 1e-15*g.LR {
				t.Errorf("%+v: At(%d) = %v, timm %v", s, i, got, want)
			}
		}
	}
}
