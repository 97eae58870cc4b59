package cli

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	// A detached run starts this program again. It may fail early.
	if len(os.Args) > 1 && os.Args[1] == "execute" {
		os.Exit(1)
	}
	os.Exit(m.Run())
}
