package report_test

import (
	"context"
	"log"

	"hatchery/tui/report"
)

func Example() {
	d, err := report.Run(context.Background(), "runs/quickstart-20261123-101500")
	if err != nil {
		log.Fatal(err)
	}
	if err := d.Save("report.html"); err != nil {
		log.Fatal(err)
	}
	if _, err := d.CSV("tables"); err != nil { // the same numbers for other programs
		log.Fatal(err)
	}
}
