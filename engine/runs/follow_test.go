package runs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// longJournal makes a run with about n events: epochs of a hundred steps.
func longJournal(tb testing.TB, n int) (dir string, epochs int) {
	tb.Helper()
	r, err := Create(tb.TempDir(), "long", nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(r.Emit(Event{Kind: RunStart, Plan: []StagePlan{{Stage: "e2e", Steps: n}}}), r.Emit(Event{Kind: StageStart, Stage: "e2e", Steps: n}), r.Close()); err != nil {
		tb.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(r.Dir(), eventsFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	const steps = 100
	for ; epochs*(steps+3) < n; epochs++ {
		for i := range steps {
			fmt.Fprintf(w, `{"time":"2026-01-31T14:00:00.000Z","kind":"step","stage":"e2e","epoch":%d,"step":%d,"values":{"images_per_second":4285.0498581262855,"loss":1.7514146566390991,"lr":0.002999999244541064}}`+"\n", epochs+1, epochs*steps+i+1)
		}
		for _, rest := range []string{
			`"kind":"eval","stage":"e2e","epoch":%d,"step":%d,"values":{"eval_loss":2.291629288196564,"top1":13}}`,
			`"kind":"epoch","stage":"e2e","epoch":%d,"step":%d,"values":{"cpu_seconds":0.0266,"loss":2.3093632459640503,"lr":0.00225025,"train_seconds":0.026765294}}`,
			`"kind":"checkpoint","stage":"e2e","epoch":%d,"step":%d,"file":"stages/e2e/checkpoint-1.safetensors"}`,
		} {
			fmt.Fprintf(w, `{"time":"2026-01-31T14:00:00.000Z",`+rest+"\n", epochs+1, (epochs+1)*steps)
		}
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return r.Dir(), epochs
}

// BenchmarkAttach reads the journal of a run of a million events.
func BenchmarkAttach(b *testing.B) {
	dir, _ := longJournal(b, 1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		_, f, err := Attach(b.Context(), dir)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

var _ = []any{context.Background, runtime.GC, slices.Max[[]int], strings.Repeat, time.Now}
