package charts_test

import (
	"fmt"

	"hatchery/tui/charts"
)

func Example() {
	s := charts.Series{Name: "module-1", Mark: '1', Points: []charts.Point{{X: 1, Y: 2.3}, {X: 2, Y: 1.9}, {X: 3, Y: 1.8}}}
	fmt.Println(charts.Render([]charts.Series{s}, charts.Options{Width: 40, Height: 8, XLabel: "epoch"}))
}
