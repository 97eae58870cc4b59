package presets_test

import (
	"fmt"
	"log"

	"hatchery/presets"
)

func Example() {
	c, err := presets.Load("table2-deit-t-32", []string{"modules.k=8", "schedule=50+25"})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Validate(presets.DataInfo{Classes: 100, Height: 32, Width: 32, Channels: 3}); err != nil {
		log.Fatal(err) // every problem, each with its line
	}
	fmt.Println(c.Model.Depth, c.Modules.K, c.Modular.Epochs, c.Finetune.Epochs)
	// Output: 32 8 50 25
}
