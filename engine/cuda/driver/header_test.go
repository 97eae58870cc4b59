//go:build gpu

package driver_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"hatchery/engine/cuda/headers"
)

// TestHeader compares what is declared here with NVIDIA's cuda.h: the values,
// prototypes and structs of our cuda.h, the plain prototypes of calls.h, and the
// names that symbols.h expects the driver to export.
func TestHeader(t *testing.T) {
	headers.Folder(t) // or there is nothing to compare with
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	find := func(text, pattern string, least int) [][]string {
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
		if len(found) < least {
			t.Fatalf("found %d of %s, not %d: the file is not written as the test reads it", len(found), pattern, least)
		}
		return found
	}
	ours, calls := read("include/cuda.h"), read("calls.h")

	var c strings.Builder
	numbers := append(find(ours, `\b(CU\w+) = (\d+),`, 270), find(ours, `(?m)^#define (CU\w+) (\d+)$`, 2)...)
	for _, v := range numbers {
		fmt.Fprintf(&c, "SAME_NUMBER(%s, %s);\n", v[2], v[1])
	}
	for _, s := range find(ours, `(?ms)^typedef struct \{(.*?)\} (CUDA_\w+);`, 8) {
		fmt.Fprintf(&c, "namespace ours { struct %s {%s}; }\nSAME_SIZE(ours::%[1]s, %[1]s);\n", s[2], s[1])
		for _, f := range find(s[1], `(\w+)[,;]`, 2) {
			fmt.Fprintf(&c, "SAME_FIELD(ours::%s, %s, %[1]s, %[2]s);\n", s[2], f[1])
		}
	}
	for _, s := range find(read("symbols.h"), `(?m)^X\((\w+)\)$`, 150) {
		fmt.Fprintf(&c, "static_assert(&%s != nullptr);\n", s[1])
	}
	// A function of C with other types than before is an error.
	c.WriteString("extern \"C\" {\n")
	for _, p := range find(ours, `(?m)^CUresult cu\w+\(.*\);$`, 150) {
		c.WriteString(p[0] + "\n")
	}
	c.WriteString("}\n")
	for _, p := range find(calls, `(?s)\b(cu\w+_)\([^;]*?\) __asm__\("(\w+)"\);`, 23) {
		fmt.Fprintf(&c, "SAME_CALL(%s, %s);\n", p[1], p[2])
	}
	if all := strings.Count(calls, "__asm__"); all != 23 {
		t.Fatalf("calls.h has %d prototypes, the test reads 23", all)
	}

	headers.Each(t, func(t *testing.T, cuda int, include string) {
		// Where the name in NVIDIA's header is another one.
		differ := "#define CUDA_KERNEL_NODE_PARAMS CUDA_KERNEL_NODE_PARAMS_v1\n" // v2 goes with cuGraphAddKernelNode_v2
		if cuda == 12 {
			// The driver's header has this one from 13 on; the runtime's had it before.
			differ += "#include <driver_types.h>\n#define CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER cudaErrorCallRequiresNewerDriver\n"
		}
		headers.Compare(t, include, `
#define __CUDA_API_VERSION_INTERNAL // shows every version of a call, under the name that the driver exports
extern "C" {
#include "calls.h"
}
`+differ+c.String())
	})
}
