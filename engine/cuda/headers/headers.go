//go:build gpu

// Package headers compares our declarations of NVIDIA's libraries with NVIDIA's own headers,
// in tests. The script fetch makes the folder of headers, which also contains ptxas.
package headers

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Env is the environment variable that names the folder.
const Env = "HATCHERY_CUDA_HEADERS"

var (
	//go:embed fetch
	fetch string
	//go:embed requirements.txt
	requirements string
	//go:embed same.h
	same string
)

// Folder returns the folder. If the environment names none, it skips the test, or with CI=true
// fails it.
func Folder(t *testing.T) string {
	t.Helper()
	const how = "engine/cuda/headers/fetch FOLDER makes one"
	dir := os.Getenv(Env)
	switch {
	case dir == "" && os.Getenv("CI") == "true":
		t.Fatalf("%s names no folder of NVIDIA's headers; %s", Env, how)
	case dir == "":
		t.Skipf("%s names no folder of NVIDIA's headers; %s", Env, how)
	case !filepath.IsAbs(dir):
		t.Fatalf("%s=%s is not absolute", Env, dir)
	}
	stamp, err := os.ReadFile(filepath.Join(dir, "stamp"))
	if err != nil {
		t.Fatalf("%s: %v; %s", Env, err, how)
	}
	if sum := sha256.Sum256([]byte(requirements + fetch)); strings.TrimSpace(string(stamp)) != hex.EncodeToString(sum[:]) {
		t.Fatalf("%s=%s was made for other versions; %s", Env, dir, how)
	}
	return dir
}

// Each runs a test with the headers of CUDA 12 and of CUDA 13.
func Each(t *testing.T, test func(t *testing.T, cuda int, include string)) {
	t.Helper()
	dir := Folder(t)
	for _, cuda := range []int{12, 13} {
		t.Run(fmt.Sprint("CUDA ", cuda), func(t *testing.T) {
			test(t, cuda, filepath.Join(dir, fmt.Sprintf("cuda-%d", cuda), "include"))
		})
	}
}

// Compare compiles C++ code with assertions, which can use the macros of same.h. If an
// assertion fails, it fails the test with the compiler's output. include is a folder of
// headers, or "" for none.
func Compare(t *testing.T, include, source string) {
	t.Helper()
	if output, err := compile(t, include, source, "-fsyntax-only"); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// CompareLibrary compares a package's declarations of a library, in two of its files, with
// the headers that include names: see Declarations and Calls. more contains further
// assertions.
func CompareLibrary(t *testing.T, declared, calls, include, more string) {
	t.Helper()
	declarations, err := Declarations(declared)
	if err != nil {
		t.Fatal(err)
	}
	pointers, err := Calls(calls)
	if err != nil {
		t.Fatal(err)
	}
	Each(t, func(t *testing.T, _ int, folder string) { Compare(t, folder, include+"\n"+declarations+pointers+more) })
}

// Run compiles and runs a C++ program and returns its output.
func Run(t *testing.T, include, source string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if output, err := compile(t, include, source, "-o", program); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "LD_PRELOAD=")
	printed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(printed)
}

func compile(t *testing.T, include, source string, flags ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("g++"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("comparing headers needs g++")
		}
		t.Skip("no g++, which comparing headers needs")
	}
	// Files of the package are included from its folder, where the test runs.
	args := append([]string{"-std=c++17", "-w", "-I."}, flags...)
	if include != "" {
		args = append(args, "-isystem", include)
	}
	cmd := exec.CommandContext(t.Context(), "g++", append(args, "-x", "c++", "-")...)
	cmd.Env = append(os.Environ(), "LD_PRELOAD=", "LC_ALL=C") // the script sanitize preloads a runtime for the test only
	cmd.Stdin = strings.NewReader(same + source)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

var (
	block  = regexp.MustCompile(`(?ms)^(enum|struct \w+) \{(?: // (\w+))?\n(.*?)^\};$`)
	number = regexp.MustCompile(`^\t(\w+) = -?\d+, +// (\w+)`)
	field  = regexp.MustCompile(`^\t\w[\w ]* (\w+)(?:\[\d+\])?; +// (\w+)`)
)

// Declarations returns assertions on the numbers and structs in a header of ours, whose lines
// end in NVIDIA's names. A line without a name is an error.
func Declarations(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var c strings.Builder
	for _, b := range block.FindAllStringSubmatch(string(text), -1) {
		ours, theirs := strings.TrimPrefix(b[1], "struct "), b[2]
		if (theirs == "") != (b[1] == "enum") {
			return "", fmt.Errorf("%s: %s: the line of a struct's name, and no other, ends in NVIDIA's name for it", file, b[1])
		}
		if theirs != "" {
			fmt.Fprintf(&c, "SAME_SIZE(%s, %s);\n", ours, theirs)
		}
		for line := range strings.Lines(b[3]) {
			switch n, f := number.FindStringSubmatch(line), field.FindStringSubmatch(line); {
			case strings.TrimSpace(line) == "":
			case n != nil && theirs == "":
				fmt.Fprintf(&c, "SAME_NUMBER(%s, %s);\n", n[1], n[2])
			case f != nil && theirs != "":
				fmt.Fprintf(&c, "SAME_FIELD(%s, %s, %s, %s);\n", ours, f[1], theirs, f[2])
			default:
				return "", fmt.Errorf("%s: %q does not end in NVIDIA's name", file, strings.TrimSpace(line))
			}
		}
	}
	if c.Len() == 0 {
		return "", fmt.Errorf("%s declares no enum and no struct", file)
	}
	return c.String(), nil
}

var (
	table   = regexp.MustCompile(`(?ms)^static struct \{\n(.*?)^\} f;$`)
	pointer = regexp.MustCompile(`\(\*(\w+)\)\(`)
	wanted  = regexp.MustCompile(`"(\w+)", &f\.(\w+)\}`)
)

// Calls returns assertions on the function pointers in the struct f of a C file of ours. A
// line with the names sets each of them from the library.
func Calls(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	f := table.FindSubmatch(text)
	if f == nil {
		return "", fmt.Errorf("%s has no static struct f", file)
	}
	members := map[string]bool{}
	for _, m := range pointer.FindAllSubmatch(f[1], -1) {
		members[string(m[1])] = true
	}
	var c, undefined strings.Builder
	fmt.Fprintf(&c, "struct f {\n%s};\n", f[1])
	for _, w := range wanted.FindAllSubmatch(text, -1) {
		symbol, member := string(w[1]), string(w[2])
		if !members[member] {
			return "", fmt.Errorf("%s sets f.%s twice, or f.%[2]s is not a function pointer", file, member)
		}
		delete(members, member)
		// The name that the library exports, not a later version's.
		fmt.Fprintf(&undefined, "#undef %s\n", symbol)
		fmt.Fprintf(&c, "SAME_CALL(f::%s, %s);\n", member, symbol)
	}
	for member := range members {
		return "", fmt.Errorf("%s does not set f.%s", file, member)
	}
	return undefined.String() + c.String(), nil
}
