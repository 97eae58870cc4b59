package presets

import (
	"reflect"
	"testing"
)

func TestTmp(t *testing.T) {
	for _, n := range runnable() {
		c, err := Load(n, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := c.Validate(DataInfo{}); err != nil {
			t.Error(err)
		}
		t.Log(n, c.Runnable())
		if n == "table1-vit-h" || n == "quickstart" {
			t.Log(string(c.TOML()))
		}
		_ = reflect.DeepEqual
	}
	_, err := Load("quickstart", []string{"modules.k=3", "model.widht=3", "train.lr=abc", "data.root=1", "run.methods=e2e"})
	t.Log(err)
	c, err := Load("quickstart", []string{"modules.k=3", "data.root=1", "run.methods=e2e,assembling", "train.lr=-1", "meta.warmup_epochs=9", "run.equal=costs"})
	t.Log(err)
	t.Log(c.Validate(DataInfo{Classes: 12, Height: 32, Width: 32, Channels: 3, Train: 20}))
	_, err = Load("quickstart", []string{"train.epochs=1"})
	t.Log(err)
}
