package printable_test

import (
	"fmt"
	"os"

	"hatchery/engine/printable"
)

func Example() {
	title := "ViT\x1b[2J\nfinished"
	fmt.Println(printable.Line(title)) // one line, whatever the title holds

	out := printable.NewWriter(os.Stdout) // nothing but text comes out
	fmt.Fprintln(out, title)
	// Output:
	// ViT\x1b[2J\nfinished
	// ViT\x1b[2J
	// finished
}
