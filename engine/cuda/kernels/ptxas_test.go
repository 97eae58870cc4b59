//go:build gpu

package kernels_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"hatchery/engine/cuda/headers"
	"hatchery/engine/cuda/kernels"
)

var update = flag.Bool("update", false, "write the section on compiled kernels in RESULTS.md")

// architecture is what a multiprocessor has to share among blocks.
type architecture struct {
	name            string
	major, minor    int
	threads, blocks int // at a time
	shared          int // bytes
}

// architectures are the data centre's: A100, H100 and H200, B200.
var architectures = []architecture{
	{"sm_80", 8, 0, 2048, 32, 164 << 10},
	{"sm_90", 9, 0, 2048, 32, 228 << 10},
	{"sm_100", 10, 0, 2048, 32, 228 << 10},
}

// What the architectures have in common.
const (
	registers      = 65536 // of a multiprocessor
	partitions     = 4     // of a multiprocessor, with a quarter of its registers each
	registerUnit   = 256   // registers are given to a warp in multiples of it
	sharedUnit     = 128   // bytes of shared memory, likewise to a block
	sharedReserved = 1024  // bytes of a block that the driver takes
)

// resident returns how many blocks of a kernel a multiprocessor runs at a time.
func (a architecture) resident(u usage, threads, dynamic int) int {
	up := func(n, unit int) int { return (n + unit - 1) / unit * unit }
	warps := up(threads, 32) / 32
	// A partition's registers hold whole warps.
	held := partitions * (registers / partitions / up(32*u.registers, registerUnit))
	return min(a.blocks, a.threads/32/warps, held/warps, a.shared/up(u.shared+dynamic+sharedReserved, sharedUnit))
}

// usage is what ptxas says that a kernel takes.
type usage struct {
	registers int // of a thread
	stored    int // bytes a thread spills
	loaded    int // bytes it reads again
	shared    int // static bytes of a block
}

var said = struct{ entry, function, spills, used, nothing *regexp.Regexp }{
	entry:    regexp.MustCompile(`^ptxas info    : Compiling entry function '(\w+)' for '\w+'$`),
	function: regexp.MustCompile(`^ptxas info    : Function properties for (\w+)$`),
	spills:   regexp.MustCompile(`^    \d+ bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads$`),
	used:     regexp.MustCompile(`^ptxas info    : Used (\d+) registers, used \d+ barriers(?:, \d+ bytes cumulative stack size)?(?:, (\d+) bytes smem)?(?:, \d+ bytes cmem\[\d\])*$`),
	nothing:  regexp.MustCompile(`^$|^ptxas info    : \d+ bytes gmem|^ptxas info    : Compile time = `),
}

// read reads what ptxas says with -v: of each kernel and function. Anything that
// it does not know, such as a warning, is an error.
func read(text string) (map[string]usage, error) {
	found := map[string]usage{}
	number := func(s string) int {
		n, _ := strconv.Atoi(s) // digits, or nothing for none
		return n
	}
	var entry, function string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := said.entry.FindStringSubmatch(line); m != nil {
			entry = m[1]
		} else if m := said.function.FindStringSubmatch(line); m != nil {
			function = m[1]
		} else if m := said.spills.FindStringSubmatch(line); m != nil {
			u := found[function]
			u.stored, u.loaded = number(m[1]), number(m[2])
			found[function] = u
		} else if m := said.used.FindStringSubmatch(line); m != nil {
			u := found[entry]
			u.registers, u.shared = number(m[1]), number(m[2])
			found[entry] = u
		} else if !said.nothing.MatchString(line) {
			return nil, fmt.Errorf("ptxas says: %s", line)
		}
	}
	return found, nil
}

// example is a launch of a kernel that matters to the speed of training.
type example struct {
	shape  string
	launch kernels.Launch
}

func examples() []example {
	var all []example
	add := func(shape string, launches ...kernels.Launch) {
		for _, l := range launches {
			all = append(all, example{shape, l})
		}
	}
	const b = 2
	some := kernels.Buffer{ID: 1} // that an optional output is there
	attention := func(n, d int) {
		shape := fmt.Sprintf("%d tokens", n)
		add(shape, kernels.Attention{B: b, N: n, H: 3, D: d}.Launch())
		add(shape, kernels.AttentionBackward{B: b, N: n, H: 3, D: d}.Launches()...)
	}
	for _, d := range []int{48, 64, 80, 96} {
		attention(197, d)
	}
	attention(65, 64)
	widths := []int{192, 768, 1024}
	for _, w := range widths {
		add(fmt.Sprintf("width %d", w), kernels.LayerNorm{Rows: 65 * b, Width: w}.Launch())
	}
	for _, w := range widths {
		add(fmt.Sprintf("width %d", w), kernels.LayerNormBackward{Rows: 65 * b, Width: w, DGamma: some, DBeta: some}.Launches()[0])
	}
	add("", kernels.ColumnSum{Rows: 65 * b, Width: 192}.Launches()...)
	add("", kernels.Residual(kernels.BF16, b, 65*192, some, some, some, some))
	add("", kernels.GELU(kernels.BF16, 65*b, 768, some, some, some))
	add("", kernels.GELUBackward(kernels.BF16, 65*b, 768, some, some, some, some))
	add("", kernels.Patches{Batch: b, B: b, Channels: 3, Size: 32, Patch: 4, Pixels: some, Mean: make([]float64, 3), Std: []float64{1, 1, 1}}.Launch())
	add("", kernels.Tokens(kernels.BF16, b, 64, 192, some, some, some, some))
	add("", kernels.TokensBackward{B: b, N: 64, C: 192}.Launches()...)
	add("", kernels.CrossEntropy{Batch: b, B: b, Classes: 10, Weight: 1}.Launches()...)
	o := kernels.Optimizer{Layout: kernels.NewLayout([]int{1 << 20}, []bool{true}), Clip: 1}
	adamw := kernels.AdamW(o)
	lamb := kernels.LAMB(o)
	add("", adamw[0], adamw[len(adamw)-1], lamb[2], lamb[len(lamb)-1])
	return all
}

// assemble runs ptxas for the architectures, two at a time, and returns what
// each kernel takes.
func assemble(t *testing.T, ptxas string, names []string) map[string]map[string]usage {
	t.Helper()
	taken := make([]map[string]usage, len(names))
	var g errgroup.Group
	g.SetLimit(2)
	for i, name := range names {
		g.Go(func() error {
			text, err := exec.Command(ptxas, "-arch="+name, "-v", "-o", filepath.Join(t.TempDir(), "cubin"), "kernels.ptx").CombinedOutput()
			if err != nil {
				return fmt.Errorf("ptxas -arch=%s: %w\n%s", name, err, text)
			}
			if taken[i], err = read(string(text)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]usage{}
	for i, name := range names {
		all[name] = taken[i]
	}
	return all
}

// section is what RESULTS.md says of the kernels as compiled.
func section(version string, all []example, taken map[string]map[string]usage) string {
	var s strings.Builder
	fmt.Fprintf(&s, `## The kernels, as compiled

Of ptxas %s, for kernels.ptx, without a card: sm_80 is an A100, sm_90 an H100 or H200,
sm_100 a B200. Registers are a thread's, spilled bytes a thread's, shared memory a block's
bytes; blocks are those that a multiprocessor runs at a time, by its registers, threads
and shared memory. No other kernel spills. A test compares this with what ptxas says, and
writes it: `+"`go test -tags gpu -run TestPTXAS ./engine/cuda/kernels -update`"+`.

`, version)
	head := []string{"kernel", "example", "threads", "shared memory"}
	for _, what := range []string{"registers", "spilled", "blocks"} {
		for i, a := range architectures {
			if i == 0 {
				head = append(head, what+", "+a.name)
			} else {
				head = append(head, a.name)
			}
		}
	}
	row := func(cells []string) { fmt.Fprintf(&s, "| %s |\n", strings.Join(cells, " | ")) }
	row(head)
	s.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, e := range all {
		threads := int(e.launch.Block[0] * e.launch.Block[1] * e.launch.Block[2])
		dynamic := int(e.launch.Shared)
		var registers, spilled, blocks []string
		for _, a := range architectures {
			u := taken[a.name][e.launch.Kernel]
			registers = append(registers, strconv.Itoa(u.registers))
			spilled = append(spilled, strconv.Itoa(u.stored))
			blocks = append(blocks, strconv.Itoa(a.resident(u, threads, dynamic)))
		}
		static := taken[architectures[0].name][e.launch.Kernel].shared
		cells := []string{e.launch.Kernel, e.shape, strconv.Itoa(threads), strconv.Itoa(static + dynamic)}
		cells = append(cells, registers...)
		cells = append(cells, spilled...)
		row(append(cells, blocks...))
	}
	return s.String()
}

// TestPTXAS assembles kernels.ptx as a driver does, with NVIDIA's newest
// assembler, and compares what the kernels take with RESULTS.md.
func TestPTXAS(t *testing.T) {
	if testing.Short() || os.Getenv("HATCHERY_EMULATION_ORDER") != "" {
		t.Skip("it takes a quarter of a minute, and says the same in every order of the emulation")
	}
	folder := headers.Folder(t)
	ptxas := filepath.Join(folder, "cuda-13", "bin", "ptxas")
	text, err := exec.Command(ptxas, "--version").CombinedOutput()
	version := regexp.MustCompile(`\bV([\d.]+)\n`).FindSubmatch(text)
	if err != nil || version == nil {
		t.Fatalf("%s --version: %v\n%s", ptxas, err, text)
	}
	var names []string
	for _, a := range architectures {
		names = append(names, a.name)
	}
	taken := assemble(t, ptxas, names)

	entries := regexp.MustCompile(`(?m)^\.visible \.entry (\w+)\($`).FindAllSubmatch(kernels.PTX, -1)
	all, listed := examples(), map[string]bool{}
	for _, e := range all {
		if listed[e.launch.Kernel] {
			t.Errorf("%s is listed twice", e.launch.Kernel)
		}
		listed[e.launch.Kernel] = true
	}
	for _, name := range names {
		for _, e := range entries {
			if taken[name][string(e[1])].registers == 0 {
				t.Errorf("ptxas says nothing of %s for %s", e[1], name)
			}
		}
		for kernel, u := range taken[name] {
			if u.stored+u.loaded > 0 && !listed[kernel] {
				t.Errorf("%s spills for %s: %d bytes stored, %d loaded", kernel, name, u.stored, u.loaded)
			}
			if other := taken[names[0]][kernel].shared; u.shared != other {
				t.Errorf("%s has %d bytes of shared memory for %s, %d for %s", kernel, u.shared, name, other, names[0])
			}
		}
	}
	for kernel := range listed {
		if _, ok := taken[names[0]][kernel]; !ok {
			t.Errorf("there is no kernel %s", kernel)
		}
	}

	const file, mark = "../RESULTS.md", "## The kernels, as compiled\n"
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, had, ok := bytes.Cut(got, []byte(mark))
	if !ok {
		t.Fatalf("%s has no section %q", file, strings.TrimSpace(mark))
	}
	had, after, more := bytes.Cut(had, []byte("\n## "))
	want := section(string(version[1]), all, taken)
	if *update {
		text := string(before) + want
		if more {
			text += "\n## " + string(after)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	theirs := strings.Split(strings.TrimSpace(mark+string(had)), "\n")
	for i, line := range strings.Split(strings.TrimSpace(want), "\n") {
		switch {
		case i >= len(theirs):
			t.Errorf("%s lacks %q", file, line)
		case line != theirs[i]:
			t.Errorf("%s:\n  has  %s\n  want %s", file, theirs[i], line)
		}
	}
	if t.Failed() {
		t.Log("-update writes it; see to it that no kernel lost a block of a multiprocessor")
	}
}

// TestResident compares resident with NVIDIA's arithmetic, cuda_occupancy.h.
func TestResident(t *testing.T) {
	var c, want strings.Builder
	c.WriteString(`
#include <climits>
#include <cstdio>
#include <cstring>
#include <cuda_occupancy.h>

static void print(int major, int minor, int threads, size_t shared, int registers, size_t block, int size, size_t dynamic) {
	cudaOccDeviceProp p;
	p.computeMajor = major, p.computeMinor = minor, p.maxThreadsPerBlock = 1024, p.maxThreadsPerMultiprocessor = threads;
	p.regsPerBlock = p.regsPerMultiprocessor = 65536, p.warpSize = 32, p.numSms = 100, p.sharedMemPerBlock = 48 << 10;
	p.sharedMemPerMultiprocessor = shared, p.sharedMemPerBlockOptin = shared - 1024, p.reservedSharedMemPerBlock = 1024;
	cudaOccFuncAttributes f;
	f.maxThreadsPerBlock = 1024, f.numRegs = registers, f.sharedSizeBytes = block, f.numBlockBarriers = 1;
	f.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN, f.maxDynamicSharedSizeBytes = shared - 1024 - block;
	cudaOccDeviceState s;
	cudaOccResult r;
	if (cudaOccMaxActiveBlocksPerMultiprocessor(&r, &p, &f, &s, size, dynamic)) r.activeBlocksPerMultiprocessor = -1;
	printf("%d %d %d %d %zu %zu: %d\n", major, size, registers, r.activeBlocksPerMultiprocessor < 0, block, dynamic, r.activeBlocksPerMultiprocessor);
}
int main() {
`)
	for _, a := range architectures {
		for _, registers := range []int{16, 30, 32, 33, 39, 40, 72, 80, 96, 120, 128, 168, 255} {
			for _, threads := range []int{32, 64, 100, 128, 160, 224, 256, 1024} {
				for _, shared := range [][2]int{{0, 0}, {1, 0}, {4096, 0}, {0, 34560}, {0, 51200}, {256, 87552}, {0, 100 << 10}, {0, 163 << 10}, {1, 227 << 10}} {
					u := usage{registers: registers, shared: shared[0]}
					fmt.Fprintf(&c, "\tprint(%d, %d, %d, %d, %d, %d, %d, %d);\n", a.major, a.minor, a.threads, a.shared, registers, shared[0], threads, shared[1])
					fmt.Fprintf(&want, "%d %d %d 0 %d %d: %d\n", a.major, threads, registers, shared[0], shared[1], a.resident(u, threads, shared[1]))
				}
			}
		}
	}
	c.WriteString("}\n")
	folder := headers.Folder(t)
	got := strings.Split(headers.Run(t, filepath.Join(folder, "cuda-13", "include"), c.String()), "\n")
	for i, line := range strings.Split(want.String(), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("of architecture, threads, registers, error, static and dynamic shared memory: blocks, NVIDIA counts\n%s\nand resident\n%s",
				got[min(i, len(got)-1)], line)
		}
	}
}
