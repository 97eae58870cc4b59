package presets

import (
	"reflect"
	"testing"
)

func TestParseDevice(t *testing.T) {
	for s, want := range map[string]Device{
		"auto": {Kind: "auto"}, "cpu": {Kind: "cpu"}, "cuda": {"cuda", []int{0}},
		"cuda:3": {"cuda", []int{3}}, "cuda:0,1": {"cuda", []int{0, 1}}, "cuda:1,0": {"cuda", []int{1, 0}},
	} {
		got, err := ParseDevice(s)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "gpu", "CPU", "cuda:", "cuda:a", "cuda:-1", "cuda:0,", "cuda:0,0", "cuda: 0", "cuda:00", "cuda:1e3", "cuda:256", "cuda:99999999999999999999"} {
		if d, err := ParseDevice(s); err == nil {
			t.Errorf("%q is %v, want an error", s, d)
		}
	}
}
