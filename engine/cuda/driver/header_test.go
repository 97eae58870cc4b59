//go:build gpu

package driver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHeader compares our cuda.h with NVIDIA's, where there is one: every
// value, every prototype and the size of every struct.
func TestHeader(t *testing.T) {
	toolkit := "/usr/include/cuda.h"
	if home := os.Getenv("CUDA_HOME"); home != "" {
		toolkit = filepath.Join(home, "include", "cuda.h")
	}
	theirs, err := os.ReadFile(toolkit)
	if err != nil {
		t.Skip("no CUDA toolkit to compare with")
	}
	if strings.Contains(string(theirs), "#define CUDA_VERSION 13") {
		t.Skip("CUDA 13 has other versions of some calls")
	}
	ours, err := os.ReadFile("include/cuda.h")
	if err != nil {
		t.Fatal(err)
	}
	var c strings.Builder
	c.WriteString("#include \"" + toolkit + "\"\n")
	values := regexp.MustCompile(`(CU\w+) = (\w+),`).FindAllStringSubmatch(string(ours), -1)
	for _, v := range values {
		c.WriteString("_Static_assert((long long)" + v[1] + " == " + v[2] + ", \"" + v[1] + "\");\n")
	}
	prototypes := regexp.MustCompile(`(?m)^CUresult cu\w+\(.*\);$`).FindAllString(string(ours), -1)
	c.WriteString(strings.Join(prototypes, "\n") + "\n")
	// Our structs under other names, to compare sizes and the last field's place.
	structs := regexp.MustCompile(`(?ms)^typedef struct \{(.*?)\} (CUDA_\w+);`).FindAllStringSubmatch(string(ours), -1)
	for _, s := range structs {
		fields := regexp.MustCompile(`\w+(;\n)$`).FindString(s[1])
		last := strings.TrimSuffix(fields, ";\n")
		c.WriteString("typedef struct {" + s[1] + "} our_" + s[2] + ";\n" +
			"_Static_assert(sizeof(our_" + s[2] + ") == sizeof(" + s[2] + "), \"" + s[2] + "\");\n" +
			"_Static_assert(offsetof(our_" + s[2] + ", " + last + ") == offsetof(" + s[2] + ", " + last + "), \"" + s[2] + "\");\n")
	}
	if len(values) < 250 || len(prototypes) < 150 || len(structs) != 8 {
		t.Fatalf("found %d values, %d prototypes, %d structs", len(values), len(prototypes), len(structs))
	}
	file := filepath.Join(t.TempDir(), "compare.c")
	if err := os.WriteFile(file, []byte("#include <stddef.h>\n"+c.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-std=c11", "-fsyntax-only", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
