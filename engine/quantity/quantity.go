// Package quantity formats quantities for display: sizes, times, counts, rates and
// percentages. Screens, tables and errors use it, so that a quantity looks the same
// everywhere.
//
// Units are chosen after rounding: 59.96 s is "1m00s", not "60.0s". Values that are not
// finite are formatted as [Unknown].
package quantity

import (
	"fmt"
	"math"
	"strconv"
)

// Unknown is the text for an unknown quantity.
const Unknown = "-"

var (
	byteUnits   = []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	countUnits  = []string{"", " k", " M", " G", " T", " P", " E"}
	tenthsUnits = countUnits[2:]
)

// Bytes formats a size with one decimal and a binary unit: "1.5 GiB".
func Bytes(n int64) string {
	if -1024 < n && n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := scale(float64(n)/1024, 1024, len(byteUnits))
	return fmt.Sprintf("%.1f %s", size, byteUnits[unit])
}

// BytesOf formats a used size and a total, both in the unit of the total: "0.5 of 8.0 GiB".
func BytesOf(used, total int64) string {
	if -1024 < total && total < 1024 {
		return fmt.Sprintf("%d of %d B", used, total)
	}
	size, unit := scale(float64(total)/1024, 1024, len(byteUnits))
	return fmt.Sprintf("%.1f of %.1f %s", float64(used)/math.Pow(1024, float64(unit+1)), size, byteUnits[unit])
}

// scale divides x by base until x, rounded to one decimal, is below base or the last unit is
// reached. It returns the quotient and the index of the unit.
func scale(x, base float64, units int) (float64, int) {
	unit := 0
	for math.Round(math.Abs(x)*10)/10 >= base && unit < units-1 {
		x /= base
		unit++
	}
	return x, unit
}

// Count formats a number with three significant digits: "86.6 M", "1.26 G".
func Count(x float64) string {
	if !finite(x) {
		return Unknown
	}
	unit := 0
	for math.Abs(x) >= 999.5 && unit < len(countUnits)-1 {
		x /= 1000
		unit++
	}
	return strconv.FormatFloat(x, 'g', 3, 64) + countUnits[unit]
}

// CountTenths formats a number with one decimal, in millions or a larger unit, like the
// parameters and MACs in the paper's tables: "0.4 M", "17.6 G", "191.2 G".
func CountTenths(x float64) string {
	if !finite(x) {
		return Unknown
	}
	x, unit := scale(x/1e6, 1000, len(tenthsUnits))
	return fmt.Sprintf("%.1f%s", x, tenthsUnits[unit])
}

// Rate formats a number of units per second with three significant digits: "312 TFLOP/s" for
// 3.12e14 and "FLOP".
func Rate(perSecond float64, unit string) string {
	if !finite(perSecond) {
		return Unknown
	}
	count := Count(perSecond)
	if math.Abs(perSecond) < 999.5 {
		count += " " // the prefix is empty
	}
	return count + unit + "/s"
}

// Duration formats a duration to the second, and a long one to the minute or the hour:
// "42s", "3m20s", "1h02m", "2d03h".
func Duration(seconds float64) string {
	if !finite(seconds) {
		return Unknown
	}
	rounded := math.Round(seconds)
	if rounded < 0 {
		return "-" + Duration(-rounded)
	}
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	switch s := int64(min(rounded, 1<<62)); {
	case s >= 2*day:
		return fmt.Sprintf("%dd%02dh", s/day, s%day/hour)
	case s >= hour:
		return fmt.Sprintf("%dh%02dm", s/hour, s%hour/minute)
	case s >= minute:
		return fmt.Sprintf("%dm%02ds", s/minute, s%minute)
	default:
		return fmt.Sprintf("%ds", s)
	}
}

// DurationTenths is Duration with tenths of a second below a minute: "12.3s".
func DurationTenths(seconds float64) string {
	if finite(seconds) && math.Abs(math.Round(seconds*10)) < 600 {
		return fmt.Sprintf("%.1fs", seconds)
	}
	return Duration(seconds)
}

// Hours formats the estimated time of a computation in hours, as papers do, or in seconds or
// minutes if it is short: "30 s", "5 min", "3.2 h", "4830 h".
func Hours(hours float64) string {
	if !finite(hours) {
		return Unknown
	}
	switch h := math.Abs(hours); {
	case math.Round(h*3600) < 60:
		return fmt.Sprintf("%.0f s", hours*3600)
	case math.Round(h*60) < 60:
		return fmt.Sprintf("%.0f min", hours*60)
	case math.Round(h*10) < 100:
		return fmt.Sprintf("%.1f h", hours)
	default:
		return fmt.Sprintf("%.0f h", hours)
	}
}

// Percent formats a percentage without decimals, for progress and fractions: "38 %".
func Percent(x float64) string {
	if !finite(x) {
		return Unknown
	}
	return fmt.Sprintf("%.0f %%", x)
}

// Accuracy formats a percentage with two decimals: "81.50 %".
func Accuracy(x float64) string {
	if !finite(x) {
		return Unknown
	}
	return Hundredths(x) + " %"
}

// Hundredths formats a number with two decimals: "81.50". It is for columns whose header
// names the unit.
func Hundredths(x float64) string {
	if !finite(x) {
		return Unknown
	}
	return fmt.Sprintf("%.2f", x)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
