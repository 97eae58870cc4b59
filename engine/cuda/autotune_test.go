//go:build gpu

package cuda

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hatchery/engine/backend"
	"hatchery/engine/cuda/blas"
	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/emulation"
	"hatchery/engine/cuda/kernels"
	"hatchery/models"
)

// shelf keeps tunings in memory.
type shelf struct {
	own    []byte
	others [][]byte
	saved  int
	fails  error
}

func (s *shelf) Load() (own backend.Tuning, others []backend.Tuning, err error) {
	for i, data := range s.others {
		others = append(others, backend.Tuning{Path: fmt.Sprintf("other-%d.json", i), Data: data})
	}
	return backend.Tuning{Path: "own.json", Data: s.own}, others, s.fails
}

func (s *shelf) Save(data []byte) error {
	s.own = data
	s.saved++
	return nil
}

// choices returns the choices of the first tuning.
func (s *shelf) choices(t *testing.T) map[string]choice {
	t.Helper()
	var all []tuning
	if err := json.Unmarshal(s.own, &all); err != nil || len(all) == 0 {
		t.Fatalf("%v: %s", err, s.own)
	}
	return all[0].Products
}

// tuned makes a trainer of a job that stores its tunings in s.
func tuned(t *testing.T, g *gpu, j *backend.Job, s *shelf) *trainer {
	t.Helper()
	own := clone(j)
	own.Tunings = s
	tr, err := gpus{g}.NewTrainer(own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr.(*trainer)
}

// emulated returns the emulated device. On a card it skips the test, because its times
// vary.
func emulated(t *testing.T) *gpu {
	t.Helper()
	if emulation.OnCard() {
		t.Skip("about made-up times, not the card's")
	}
	return testGPU(t, kernels.BF16)
}

// epilogues counts the products of a trainer's program by their epilogue.
func epilogues(tr *trainer) map[blas.Epilogue]int {
	n := map[blas.Epilogue]int{}
	for _, c := range tr.executor.program.Commands {
		if c.Product != nil {
			n[c.Product.Epilogue]++
		}
	}
	return n
}

// TestTuneEpilogues checks that an epilogue is used if it is faster than a separate
// kernel.
func TestTuneEpilogues(t *testing.T) {
	g := emulated(t)
	j := newJob(small(2, 1), false)
	for _, c := range []struct {
		name, times      string
		sum, gelu, dgelu bool
	}{
		{"all alike", "", true, true, true},
		{"sums slow", "product/sum_a/*=9,reduce_rows=2,column_sum*=2", false, true, true},
		{"sums hardly slower", "product/sum_a/*=500,product/none/*=491,reduce_rows=1,column_sum*=1", true, true, true},
		{"GELU slow", "product/gelu*=20,gelu_bf16=5", true, false, false},
		{"its gradient slow", "product/dgelu*=20,gelu_backward_bf16=5", true, true, false},
		{"a kernel that is slow too", "product/sum_a/*=9,reduce_rows=5,column_sum*=5", true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("HATCHERY_EMULATION_TIMES", c.times)
			s := &shelf{}
			n := epilogues(tuned(t, g, j, s))
			if n[blas.SumA] > 0 != c.sum || n[blas.GeluAuxBias] > 0 != c.gelu || n[blas.DGelu] > 0 != c.dgelu {
				t.Errorf("products by epilogue: %v", n)
			}
			if s.saved != 1 {
				t.Errorf("saved %d times", s.saved)
			}
			for name, x := range s.choices(t) {
				if strings.Contains(name, " sum_a") && (x.Time <= 0 || x.UnfusedTime <= 0 || x.Unfused == c.sum) {
					t.Errorf("%s: %+v", name, x)
				}
			}
		})
	}
}

// TestTuneAlgorithms checks that a step uses the fastest of cublasLt's algorithms, or the
// first unless another is clearly faster.
func TestTuneAlgorithms(t *testing.T) {
	g := emulated(t)
	d := small(2, 1)
	j := newJob(d, false)
	t.Setenv("HATCHERY_EMULATION_ALGORITHMS", "4")
	train := func(times string) (map[string]choice, map[string][]float32) {
		t.Setenv("HATCHERY_EMULATION_TIMES", times)
		s := &shelf{}
		tr := tuned(t, g, j, s)
		steps(t, tr, d.Target, 1, 0, 2)
		return s.choices(t), tensors(t, tr, 1)
	}
	for _, c := range []struct {
		times  string
		number int
	}{
		{"product/*/2/*=50,product/*=60", 3},
		{"product/*/3/*=59,product/*=60", 1}, // within what timing can tell
		{"product/*/0/*=50,product/*=60", 1},
	} {
		all, _ := train(c.times)
		for name, x := range all {
			if x.Number != c.number {
				t.Errorf("%s: of %q number %d was chosen for %s: %+v", c.times, name, x.Number, name, x)
			}
		}
		if len(all) < 10 {
			t.Errorf("%d products", len(all))
		}
	}
	_, first := train("product/*/0/*=1,product/*=60")
	_, third := train("product/*/2/*=1,product/*=60")
	same := true
	for name := range first {
		same = same && slices.Equal(first[name], third[name])
	}
	if same {
		t.Error("the third algorithm gives the first one's bits: was it used?")
	}
}

// TestTuningIsRepeated checks that a resumed stage, and later stages of the run, compute
// with the same bits, even if other algorithms have become faster.
func TestTuningIsRepeated(t *testing.T) {
	g := testGPU(t, kernels.BF16)
	d := small(2, 1)
	j := newJob(d, false)
	t.Setenv("HATCHERY_EMULATION_ALGORITHMS", "3")
	t.Setenv("HATCHERY_EMULATION_TIMES", "product/sum_a/*=90,product/*/1/*=5,product/*=60")
	began := &shelf{}
	tr := tuned(t, g, j, began)
	said := strings.Join(tr.Remarks(), "\n")
	if !strings.Contains(said, "timed its matrix products (") {
		t.Errorf("it says %q", said)
	}
	t.Log(said)
	steps(t, tr, d.Target, 1, 0, 3)
	want, made := tensors(t, tr, 1), epilogues(tr)

	t.Setenv("HATCHERY_EMULATION_TIMES", "product/sum_a/*=1,product/*/2/*=5,product/*=60")
	for name, s := range map[string]*shelf{"resumed": {own: began.own}, "another stage": {others: [][]byte{began.own}}} {
		tr := tuned(t, g, j, s)
		if said := tr.Remarks(); len(said) > 0 {
			t.Errorf("%s: it says %q", name, said)
		}
		if n := epilogues(tr); !maps.Equal(n, made) {
			t.Errorf("%s: products by epilogue %v, want %v", name, n, made)
		}
		steps(t, tr, d.Target, 1, 0, 3)
		sameBits(t, name, want, tensors(t, tr, 1))
		for product, c := range s.choices(t) {
			if c != began.choices(t)[product] {
				t.Errorf("%s: the choice for %s is %+v now, it was %+v", name, product, c, began.choices(t)[product])
			}
		}
	}
	fresh := tuned(t, g, j, &shelf{})
	if n := epilogues(fresh); maps.Equal(n, made) && !emulation.OnCard() {
		t.Error("the times have changed and the choices have not: this test shows nothing")
	}
}

// TestTuningElsewhere checks that the tuning of another card, of another cuBLAS or of a
// library with other algorithms is not used, and that the trainer reports Retuned. With
// another driver, the choices stay and the device has another name.
func TestTuningElsewhere(t *testing.T) {
	g := emulated(t)
	j := newJob(small(2, 1), false)
	t.Setenv("HATCHERY_EMULATION_ALGORITHMS", "3")
	t.Setenv("HATCHERY_EMULATION_TIMES", "product/*/2/*=5,product/*=60")
	began := &shelf{}
	tuned(t, g, j, began)
	change := func(f func(*tuning)) []byte {
		var all []tuning
		if err := json.Unmarshal(began.own, &all); err != nil {
			t.Fatal(err)
		}
		f(&all[0])
		data, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, c := range []struct {
		name    string
		change  func(*tuning)
		retuned bool
	}{
		{"nothing", func(u *tuning) {}, false},
		{"driver", func(u *tuning) { u.Driver = "520.1" }, false},
		{"card", func(u *tuning) { u.Card = "NVIDIA A100" }, true},
		{"library", func(u *tuning) { u.CuBLAS = "11.0.0" }, true},
		{"a product less", func(u *tuning) {
			maps.DeleteFunc(u.Products, func(name string, _ choice) bool { return strings.HasSuffix(name, " gelu_aux_bias") })
		}, true},
	} {
		s := &shelf{own: change(c.change)}
		tr := tuned(t, g, j, s)
		if got := tr.Device(0).Retuned; got != c.retuned || s.saved > 0 != c.retuned {
			t.Errorf("another %s: retuned: %v, saved %d times", c.name, got, s.saved)
		}
		want := 1
		if c.name == "card" || c.name == "library" {
			want = 2 // the other one's is kept for it
		}
		if n := strings.Count(string(s.own), `"card":`); n != want {
			t.Errorf("another %s: %d tunings are kept, want %d", c.name, n, want)
		}
	}
	if !tuned(t, g, j, &shelf{others: [][]byte{change(func(u *tuning) { u.Card = "NVIDIA A100" })}}).Device(0).Retuned {
		t.Error("another stage's tuning on another card was taken")
	}
	t.Setenv("HATCHERY_EMULATION_ALGORITHMS", "2") // the third is gone
	s := &shelf{own: began.own}
	tr := tuned(t, g, j, s)
	if said := strings.Join(tr.Remarks(), "\n"); !strings.Contains(said, "does not support the stored algorithms of ") || !tr.Device(0).Retuned {
		t.Errorf("it says %q", said)
	}
	if name := tr.Device(0).Name; name != "Emulated device, driver 580.00.00, cuBLAS "+blas.Version() {
		t.Errorf("the device is %q", name)
	}
}

// TestDamagedTuning checks that the error of a damaged file names it and says what to do.
func TestDamagedTuning(t *testing.T) {
	g := emulated(t)
	j := newJob(small(2, 1), false)
	for name, s := range map[string]*shelf{
		"cut":         {own: []byte(`[{"card": "x", `)},
		"empty":       {own: []byte{}},
		"nothing":     {own: []byte(`null`)},
		"no tuning":   {own: []byte(`[]`)},
		"more":        {own: []byte(`[{"card": "x", "products": {"p": {"algorithm": ""}}}] x`)},
		"no products": {own: []byte(`[{"card": "x"}]`)},
		"null":        {others: [][]byte{[]byte(`[null]`)}},
		"algorithm":   {own: []byte(`[{"card": "x", "products": {"p": {"algorithm": "12"}}}]`)},
		"unreadable":  {fails: errors.New("own.json: permission denied")},
	} {
		own := clone(j)
		own.Tunings = s
		_, err := gpus{g}.NewTrainer(own)
		if err == nil || !strings.Contains(err.Error(), ".json: ") || s.fails == nil && !strings.Contains(err.Error(), "; delete it to choose kernels again") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTuneWithoutMemory checks that a product uses the first algorithm if there is not
// enough memory to time it.
func TestTuneWithoutMemory(t *testing.T) {
	g := emulated(t)
	t.Setenv("HATCHERY_EMULATION_ALGORITHMS", "2")
	tuner, err := g.newTuner(&shelf{})
	if err != nil {
		t.Fatal(err)
	}
	defer tuner.close()
	t.Setenv("HATCHERY_EMULATION_MEMORY", "1000")
	c, err := tuner.choose(blas.Gemm{M: 64, N: 64, K: 64, A: kernels.BF16, B: kernels.BF16, D: kernels.BF16})
	if err != nil || c.Number != 1 || c.Time != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if said := strings.Join(tuner.remarks(), "\n"); !strings.Contains(said, "has not enough free memory to time 1 of its matrix products") {
		t.Errorf("it says %q", said)
	}
}

// TestTunerGivesMemoryBack checks that the memory for timing is free again when that of
// the job is allocated.
func TestTunerGivesMemoryBack(t *testing.T) {
	g := emulated(t)
	d := small(2, 1)
	j := newJob(d, false)
	needs := tuned(t, g, j, &shelf{}).prepared.bytes.total()
	free := int64(float64(needs)/0.9) + 1<<10 // with what spare leaves
	var used int64
	err := g.Do(func(c *driver.Context) error {
		left, total, err := c.MemInfo()
		used = total - left
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HATCHERY_EMULATION_MEMORY", fmt.Sprint(used+free))
	tr := tuned(t, g, j, &shelf{})
	if tr.prepared.micro != testBatch || tr.prepared.recompute != nil {
		t.Errorf("%d bytes are needed and %d are free, and it trains in passes of %d, computing %v twice", needs, free, tr.prepared.micro, tr.prepared.recompute)
	}
	e, err := tr.NewEvaluator([]models.Network{d.TargetNet()}, testBatch)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestOnlyWhatIsUsedIsTimed checks that, if a batch does not fit into the memory, only the
// products of the smaller passes are timed.
func TestOnlyWhatIsUsedIsTimed(t *testing.T) {
	r := request{job: newJob(small(4, 1), false), learners: []int{0}, dtype: kernels.BF16}
	p, _, err := prepare(t.Context(), r)
	for r.budget = p.bytes.total(); err == nil && p.micro == testBatch; {
		r.budget -= 4 << 10
		p, _, err = prepare(t.Context(), r)
	}
	if err != nil {
		t.Fatal(err)
	}
	used := p.program.Products()
	chosen := 0
	r.choose = func(g blas.Gemm) bool {
		chosen++
		if !slices.Contains(used, g) {
			t.Errorf("%v is chosen, which passes of %d images do not have", g, p.micro)
		}
		return true
	}
	if q, _, err := prepare(t.Context(), r); err != nil || q.micro != p.micro || chosen == 0 {
		t.Errorf("%d choices, and %v", chosen, err)
	}
}

// TestRehearsal checks that nothing remains of what the rehearsal writes.
func TestRehearsal(t *testing.T) {
	g := testGPU(t, kernels.BF16)
	d := small(2, 1)
	j := newJob(d, false)
	tr := newTestTrainer(t, g, j)
	want := map[string][]float32{}
	for _, p := range tr.learners[0].params {
		want[p.Name] = j.Weights[p.Leaf()]
	}
	for name, values := range tensors(t, tr, 1) {
		name = strings.TrimPrefix(name, "0/")
		w, isWeight := want[name]
		for i, x := range values {
			if isWeight && x != w[i] || !isWeight && x != 0 {
				t.Fatalf("before the first step %s[%d] is %v", name, i, x)
			}
		}
	}
}

// TestFaultIsNamed checks that the error of a kernel that fails in the first step names it
// and its operation. It uses a separate process, because the device becomes unusable.
func TestFaultIsNamed(t *testing.T) {
	if emulation.OnCard() {
		t.Skip("no kernel of a card faults at will")
	}
	emulation.Start(t, "kernels/all.cu")
	if os.Getenv("HATCHERY_EMULATION_FAULT") != "" {
		g, err := openGPU(0, kernels.BF16)
		if err != nil {
			t.Fatal(err)
		}
		_, err = gpus{g}.NewTrainer(newJob(small(2, 1), false))
		fmt.Printf("<<%v>>", err)
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFaultIsNamed$")
	cmd.Env = append(os.Environ(), "HATCHERY_EMULATION_FAULT=attention_short*")
	said, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "cuda:0 Emulated device: attention (kernel attention_short_") {
		t.Errorf("%v\n%s", err, said)
	}
}
