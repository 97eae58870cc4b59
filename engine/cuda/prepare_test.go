//go:build gpu

package cuda

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"hatchery/engine/cuda/kernels"
)

// TestMemory checks that on a small device a job recomputes, then makes smaller passes,
// with a remark, and that a device that is too small gives an error.
func TestMemory(t *testing.T) {
	d := small(4, 1)
	j := newJob(d, false)
	all := []int{0}
	plain, remark, err := prepare(t.Context(), request{job: j, learners: all, dtype: kernels.BF16})
	if err != nil || remark != "" || plain.micro != testBatch || plain.recompute != nil {
		t.Fatalf("without a limit: %+v, %q, %v", plain, remark, err)
	}
	seen := map[string]bool{}
	for budget := plain.bytes.total(); ; budget -= 4 << 10 {
		p, remark, err := prepare(t.Context(), request{job: j, learners: all, dtype: kernels.BF16, budget: budget})
		if err != nil {
			if !strings.Contains(err.Error(), "one image at a time") {
				t.Errorf("got %v", err)
			}
			break
		}
		if p.bytes.total() > budget {
			t.Fatalf("takes %d bytes of %d", p.bytes.total(), budget)
		}
		if again := fmt.Sprint(p.micro, p.recompute); !seen[again] {
			seen[again] = true
			t.Logf("%d KiB: %s; %s", budget>>10, again, remark)
			if (p.micro < testBatch) != strings.Contains(remark, "passes of") || (p.recompute != nil) != strings.Contains(remark, "twice") {
				t.Errorf("%s is said to be %q", again, remark)
			}
		}
	}
	if len(seen) < 4 {
		t.Errorf("only %v were chosen", seen)
	}
}

func TestPlacement(t *testing.T) {
	j := newJob(small(6, 3), false, 1, 2, 3)
	for _, c := range []struct {
		gpus []int
		want string
	}{
		{[]int{2}, ""}, {[]int{0, 3}, "cuda:0 trains stage-1, stage-2; cuda:3 trains stage-3"},
	} {
		if got := Placement(j, c.gpus); got != c.want {
			t.Errorf("on %v: %q, want %q", c.gpus, got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		learners, devices int
		want              [][]int
	}{
		{1, 1, [][]int{{0}}}, {1, 4, [][]int{{0}}}, {4, 2, [][]int{{0, 1}, {2, 3}}}, {3, 2, [][]int{{0, 1}, {2}}}, {4, 4, [][]int{{0}, {1}, {2}, {3}}},
	} {
		if got := spread(c.learners, c.devices); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d learners on %d devices: %v, want %v", c.learners, c.devices, got, c.want)
		}
	}
}
