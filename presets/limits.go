package presets

import (
	"math"
	"strconv"
)

// Limits is an interval of numbers, and possibly one number with a special meaning, such
// as 0 for "off". The zero Limits allow every number.
//
// The upper bound may also be a name: "1 to depth". Such a bound depends on other settings
// or on the data, and a separate check compares values with it.
type Limits struct {
	bounded           bool
	low, high         float64 // high may be infinite
	lowOpen, highOpen bool    // the bound itself is not allowed
	highName          string  // instead of high
	most              float64 // protects against overflow, far above any use; 0 if there is none
	special           float64 // if specialName is not empty
	specialName       string
}

// The following functions and methods build limits that read like a sentence:
// from(0).below(1), above(0).upTo(1).or(1, "all").

func from(low float64) Limits { return Limits{bounded: true, low: low, high: math.Inf(1)} }
func above(low float64) Limits {
	return Limits{bounded: true, low: low, high: math.Inf(1), lowOpen: true}
}

func (l Limits) upTo(high float64) Limits {
	l.high = high
	return l
}

func (l Limits) below(high float64) Limits {
	l.high, l.highOpen = high, true
	return l
}

func (l Limits) upToThe(name string) Limits {
	l.highName = name
	return l
}

func (l Limits) belowThe(name string) Limits {
	l.highName, l.highOpen = name, true
	return l
}

// or gives one number a special meaning. It may lie outside the interval.
func (l Limits) or(special float64, name string) Limits {
	l.special, l.specialName = special, name
	return l
}

// atMost sets a bound far above any experiment. Sums and products of larger numbers could
// overflow, and a typing mistake could ask for more than a machine has.
func (l Limits) atMost(most float64) Limits {
	l.most = most
	return l
}

// contains reports whether x lies in the interval.
func (l Limits) contains(x float64) bool {
	return (x > l.low || x == l.low && !l.lowOpen) && (x < l.high || x == l.high && !l.highOpen)
}

// violation returns the limit that x violates, such as "must be at least 1", or "".
func (l Limits) violation(x float64) string {
	switch {
	case !l.bounded || l.specialName != "" && x == l.special:
		return ""
	case !l.contains(x):
		return "must be " + l.condition()
	case l.most > 0 && x > l.most:
		return "is too large; give at most " + number(l.most)
	}
	return ""
}

// condition returns the interval as text: "at least 1", "from 0 to below 1".
func (l Limits) condition() string {
	var s string
	switch low, high := number(l.low), number(l.high); {
	case math.IsInf(l.high, 1) && l.lowOpen:
		s = "above " + low
	case math.IsInf(l.high, 1):
		s = "at least " + low
	case l.lowOpen && l.highOpen:
		s = "above " + low + " and below " + high
	case l.lowOpen:
		s = "above " + low + " and at most " + high
	case l.highOpen:
		s = "from " + low + " to below " + high
	default:
		s = "from " + low + " to " + high
	}
	if l.specialName != "" && !l.contains(l.special) {
		s += ", or " + number(l.special)
	}
	return s
}

// String returns the limits in a few words: "1 and up", "0 (off) to below 1". It is empty
// if there are none.
func (l Limits) String() string {
	if !l.bounded {
		return ""
	}
	label := func(x float64) string {
		if l.specialName != "" && x == l.special {
			return number(x) + " (" + l.specialName + ")"
		}
		return number(x)
	}
	s := label(l.low)
	if l.lowOpen {
		s = "above " + s
	}
	high := l.highName
	if high == "" {
		high = label(l.high)
	}
	switch {
	case l.highName == "" && math.IsInf(l.high, 1) && l.lowOpen:
	case l.highName == "" && math.IsInf(l.high, 1):
		s += " and up"
	case l.highOpen:
		s += " to below " + high
	default:
		s += " to " + high
	}
	if l.specialName != "" && !l.contains(l.special) {
		s += ", or " + label(l.special)
	}
	return s
}

// number formats x in the fewest digits: "1e-08", but 1048576 rather than 1.048576e+06.
func number(x float64) string {
	if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}
