package acceptance_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestHelpExamples has the program parse every command in the topics of its help.
func TestHelpExamples(t *testing.T) {
	list, err := exec.Command("hatchery", "help").Output()
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?m)^ +(hatchery .*?)(?:  .*)?$|`(hatchery [^`]*)`")
	examples := 0
	for _, topic := range regexp.MustCompile(`(?m)^  (\S+) `).FindAllStringSubmatch(string(list), -1) {
		text, err := exec.Command("hatchery", "help", topic[1]).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range example.FindAllStringSubmatch(string(text), -1) {
			examples++
			words := strings.Fields(found[1] + found[2])
			out, err := exec.Command("hatchery", append(words[1:], "--help")...).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "Usage: hatchery "+words[1]) {
				t.Errorf("help %s: %q: %v\n%s", topic[1], words, err, out)
			}
		}
	}
	if examples < 40 {
		t.Errorf("%d examples", examples)
	}
}
