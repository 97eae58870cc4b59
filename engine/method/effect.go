package method

// Effect is what changing a key does to the result of a stage.
type Effect int

const (
	None Effect = iota
	Curves
	Rounding
	Result
)
