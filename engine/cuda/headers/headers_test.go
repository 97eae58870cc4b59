//go:build gpu

package headers

import (
	"archive/zip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSame(t *testing.T) {
	var c strings.Builder
	c.WriteString("enum Mode : int {}; struct Opaque; struct Pair { int a, b; }; struct Two { int c, d; }; struct Three { int c, d, e; };\n")
	for _, p := range []struct {
		ours, theirs string
		want         bool
	}{
		{"int()", "Mode()", true},
		{"int(long)", "Mode(Opaque *)", true}, // a handle
		{"int(long *)", "Mode(Opaque **)", true},
		{"int(void *)", "int(const Pair *)", true},
		{"int(char *)", "int(Pair *)", true},
		{"int(Pair *)", "int(Two *)", true},
		{"int(int *)", "int(Mode *)", true},
		{"int(float)", "int(float)", true},
		{"void(const char **)", "void(const char **)", true},
		{"const char *(int)", "const char *(Mode)", true},

		{"int()", "void()", false},
		{"int()", "int(int)", false},
		{"int(int, int)", "int(int)", false},
		{"int(int)", "int(Opaque *)", false},
		{"int(int)", "int(long)", false},
		{"int(int)", "int(float)", false},
		{"int(float)", "int(double)", false},
		{"int(long)", "int(double)", false},
		{"int(int *)", "int(long *)", false},
		{"int(int *)", "int(float *)", false},
		{"int(int *)", "int(Opaque *)", false},
		{"int(int *)", "int(Pair *)", false},
		{"int(Pair *)", "int(Three *)", false},
		{"int(Pair *)", "int(int *)", false},
		{"int(const int *)", "int(int *)", false},
		{"int(const void *)", "int(Pair *)", false},
		{"long(int)", "Mode(int)", false},
		{"int(void (*)(int))", "int(void (*)(long))", false},
	} {
		fmt.Fprintf(&c, "static_assert(same<std::decay_t<%s>, std::decay_t<%s>> == %v, %q);\n", p.ours, p.theirs, p.want, p.ours+" for "+p.theirs)
	}
	Compare(t, "", c.String())
}

func TestADifferenceIsAnError(t *testing.T) {
	const declared = `
enum { one = 1, two = 2 };
struct pair { int a; float b; int c; };
struct theirs { int a; float b; int c; };
struct swapped { int a; int c; float b; };
struct longer { int a; float b; int c, d; };
int call(int); int (*pointer)(float);
`
	if said, err := compile(t, "", declared+"SAME_NUMBER(one, 1); SAME_SIZE(pair, theirs); SAME_FIELD(pair, c, theirs, c); SAME_CALL(call, call);", "-fsyntax-only"); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for assertion, want := range map[string]string{
		"SAME_NUMBER(one, two);":             "one is not two",
		"SAME_SIZE(pair, longer);":           "pair is not as large as longer",
		"SAME_FIELD(pair, b, swapped, b);":   "pair.b is not where swapped.b is",
		"SAME_FIELD(pair, b, swapped, c);":   "pair.b is not where swapped.c is", // a float for an int
		"SAME_CALL(pointer, call);":          "call takes other parameters",
		"SAME_NUMBER(one, NVIDIAS_UNNAMED);": "not declared",
	} {
		said, err := compile(t, "", declared+assertion, "-fsyntax-only")
		if err == nil || !strings.Contains(said, want) {
			t.Errorf("%s: want %q, got %v: %s", assertion, want, err, said)
		}
	}
}

func TestEveryLineIsRead(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	got, err := Declarations(write("enum {\n\ta = 1, // NV_A, so\n\n\tbb = -2, // NV_B\n};\n\nstruct s { // NV_S\n\tunsigned long long x[8]; // nv_x\n};\n"))
	want := "SAME_NUMBER(a, NV_A);\nSAME_NUMBER(bb, NV_B);\nSAME_SIZE(s, NV_S);\nSAME_FIELD(s, x, NV_S, nv_x);\n"
	if got != want || err != nil {
		t.Errorf("got %v %s", err, got)
	}
	for _, text := range []string{
		"",
		"enum {\n\ta = 1,\n};\n",
		"enum {\n\ta = 1, b = 2, // NV_A\n};\n",
		"struct s {\n\tint x; // nv_x\n};\n",
		"struct s { // NV_S\n\tint x;\n};\n",
		"struct s { // NV_S\n\tint x, y; // nv_x\n};\n",
	} {
		if got, err := Declarations(write(text)); err == nil {
			t.Errorf("%q is read as %q", text, got)
		}
	}
	got, err = Calls(write("static struct {\n\tint (*a)(int);\n} f;\n... {\"libraryA\", &f.a},\n"))
	if want := "#undef libraryA\nstruct f {\n\tint (*a)(int);\n};\nSAME_CALL(f::a, libraryA);\n"; got != want || err != nil {
		t.Errorf("got %v %s", err, got)
	}
	for _, text := range []string{
		"",
		"static struct {\n\tint (*a)(int);\n} f;\n",
		"static struct {\n\tint (*a)(int);\n} f;\n{\"libraryB\", &f.b},",
		"static struct {\n\tint (*a)(int);\n} f;\n{\"libraryA\", &f.a}, {\"libraryB\", &f.a},",
	} {
		if got, err := Calls(write(text)); err == nil {
			t.Errorf("%q is read as %q", text, got)
		}
	}
}

// TestFetch runs the script with small wheels in place of NVIDIA's.
func TestFetch(t *testing.T) {
	if err := exec.Command("python3", "-m", "pip", "--version").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("fetch needs python3 with pip: %v", err)
		}
		t.Skipf("no python3 with pip: %v", err)
	}
	wheels, dir := t.TempDir(), t.TempDir()
	folder := filepath.Join(dir, "cache", "folder")
	wheel := func(name, version string, files ...string) {
		t.Helper()
		underscored := strings.ReplaceAll(name, "-", "_")
		info := fmt.Sprintf("%s-%s.dist-info/", underscored, version)
		f, err := os.Create(filepath.Join(wheels, fmt.Sprintf("%s-%s-py3-none-any.whl", underscored, version)))
		if err != nil {
			t.Fatal(err)
		}
		z := zip.NewWriter(f)
		add := func(name, text string) {
			w, err := z.Create(name)
			if err == nil {
				_, err = w.Write([]byte(text))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range files {
			add(file, name)
		}
		add(info+"METADATA", fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version))
		add(info+"WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
		add(info+"RECORD", "")
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run := func() (string, error) {
		cmd := exec.Command("python3", "./fetch", folder)
		cmd.Env = append(os.Environ(), "PIP_NO_INDEX=1", "PIP_FIND_LINKS="+wheels)
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
	alone := func(want int) {
		t.Helper()
		if left, err := os.ReadDir(filepath.Dir(folder)); len(left) != want || err != nil {
			t.Errorf("beside the folder: %v, %v", left, err)
		}
	}

	if said, err := run(); err == nil || !strings.Contains(said, "pip could not download the wheels") {
		t.Fatalf("without wheels: %v\n%s", err, said)
	}
	alone(0)

	all := []string{"cuda.h", "cublas_v2.h", "cublas_api.h", "cublasLt.h", "library_types.h", "nvml.h"}
	for line := range strings.Lines(requirements) {
		name, version, ok := strings.Cut(strings.TrimSpace(line), "==")
		if !ok {
			continue
		}
		files := []string{"nvidia/x/lib/libx.so", "nvidia/x/include/nested/x.h"}
		switch {
		case strings.Contains(name, "runtime"):
			for _, h := range all {
				files = append(files, "nvidia/x/include/"+h)
			}
		case strings.Contains(name, "nvcc"):
			files = append(files, "nvidia/x/bin/ptxas", "nvidia/x/bin/nvcc", "nvidia/x/include/crt/host_defines.h")
		}
		wheel(name, version, files...)
	}
	if said, err := run(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	alone(1)
	var found []string
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, err := filepath.Rel(folder, path)
			found = append(found, name)
			return err
		}
		return err
	})
	if err != nil || len(found) != 2*len(all)+len([]string{"stamp", "ptxas", "crt of 12", "crt of 13"}) {
		t.Errorf("%v: %v", err, found)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "cuda-12/include/cuda.h")); string(text) != "nvidia-cuda-runtime-cu12" || err != nil {
		t.Errorf("cuda.h of CUDA 12 is from %s, %v", text, err)
	}
	if s, err := os.Stat(filepath.Join(folder, "cuda-13/bin/ptxas")); err != nil || s.Mode()&0o111 == 0 {
		t.Errorf("ptxas: %v, %v", s, err)
	}
	t.Setenv(Env, folder)
	if Folder(t) != folder {
		t.Error("the folder is not taken")
	}

	// Nothing to do, even without wheels.
	if err := os.Rename(wheels, wheels+"2"); err != nil {
		t.Fatal(err)
	}
	if said, err := run(); err != nil || said != "" {
		t.Errorf("again: %v\n%s", err, said)
	}
	// A folder of other requirements stays until there is a new one.
	stamp := filepath.Join(folder, "stamp")
	if err := os.WriteFile(stamp, []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := run(); err == nil {
		t.Errorf("without wheels, a folder of other requirements will do: %s", said)
	}
	alone(1)
	if err := os.Rename(wheels+"2", wheels); err != nil {
		t.Fatal(err)
	}
	wheel("nvidia-cuda-nvcc", strings.Fields(strings.SplitAfter(requirements, "nvidia-cuda-nvcc==")[1])[0])
	if said, err := run(); err == nil || !strings.Contains(said, "requirements.txt holds cuda-13/bin/ptxas") {
		t.Errorf("without ptxas: %v\n%s", err, said)
	}
	alone(1)
	if text, err := os.ReadFile(stamp); string(text) != "other\n" || err != nil {
		t.Errorf("the folder that was there is gone: %q, %v", text, err)
	}
	// A folder that is not ours is left alone.
	if err := os.Remove(stamp); err != nil {
		t.Fatal(err)
	}
	if said, err := run(); err == nil || !strings.Contains(said, "is not a folder of headers") {
		t.Errorf("somebody's folder: %v\n%s", err, said)
	}
	alone(1)
}
