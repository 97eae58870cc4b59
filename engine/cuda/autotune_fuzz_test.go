//go:build gpu

package cuda

import (
	"encoding/json"
	"strings"
	"testing"

	"hatchery/engine/backend"
)

// A file of tunings is read as it was written, or the error names it and says what
// to do.
func FuzzTunings(f *testing.F) {
	f.Add([]byte(`[{"card":"NVIDIA H100","cublas":"12.1","driver":"580","products":{"8x8x8":{"algorithm":"` + strings.Repeat("00ff", 32) + `","number":1,"us":3.5,"first_us":4}}}]`))
	f.Add([]byte(`[{"products":{"a":{"algorithm":"","us":-1}}}, null]`))
	f.Add([]byte(`[] []`))
	f.Add([]byte(`[{"products":{"a":{"algorithm":"0x00"}}}]`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			data = []byte{} // there is a file, and nothing in it
		}
		all, err := readTunings(backend.Tuning{Path: "/runs/x/autotune.json", Data: data})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "/runs/x/autotune.json: ") || !strings.Contains(err.Error(), "delete it") {
				t.Errorf("%v", err)
			}
			return
		}
		written, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readTunings(backend.Tuning{Data: written})
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(written) {
			t.Errorf("%s became %s, %v", written, twice, err)
		}
		for _, one := range all {
			if len(one.Products) == 0 {
				t.Errorf("a tuning without products from %q", data)
			}
		}
	})
}
