package cli

import (
	"encoding/json"
	"io"

	"hatchery/engine/runs"
)

// jsonViewer writes events as JSON, one object per line.
type jsonViewer struct{ out *json.Encoder }

func newJSON(w io.Writer) *jsonViewer { return &jsonViewer{json.NewEncoder(w)} }

func (v *jsonViewer) event(e runs.Event, _ *runs.State) error { return v.out.Encode(e) }
