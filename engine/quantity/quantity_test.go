package quantity

import (
	"math"
	"testing"
)

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {-5, "-5 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {-2048, "-2.0 KiB"},
		{1024*1024 - 52, "1023.9 KiB"}, {1024*1024 - 10, "1.0 MiB"}, // 1023.99 KiB
		{1<<20 + 1<<19, "1.5 MiB"}, {150 << 30, "150.0 GiB"}, {1 << 40, "1.0 TiB"}, {3 << 50, "3.0 PiB"},
		{math.MaxInt64, "8.0 EiB"}, {math.MinInt64, "-8.0 EiB"},
	} {
		if got := Bytes(c.n); got != c.want {
			t.Errorf("%d bytes are %q, want %q", c.n, got, c.want)
		}
	}
	for _, c := range []struct {
		used, total int64
		want        string
	}{
		{3 << 30, 8 << 30, "3.0 of 8.0 GiB"}, {512 << 20, 8 << 30, "0.5 of 8.0 GiB"}, {0, 1 << 20, "0.0 of 1.0 MiB"},
		{2 << 30, 1 << 30, "2.0 of 1.0 GiB"}, {1, 1000, "1 of 1000 B"},
	} {
		if got := BytesOf(c.used, c.total); got != c.want {
			t.Errorf("%d of %d bytes are %q, want %q", c.used, c.total, got, c.want)
		}
	}
}

func TestCounts(t *testing.T) {
	for _, c := range []struct {
		x             float64
		count, tenths string
	}{
		{0, "0", "0.0 M"}, {0.5, "0.5", "0.0 M"}, {999, "999", "0.0 M"}, {999.4, "999", "0.0 M"}, {999.5, "1 k", "0.0 M"}, {999.7, "1 k", "0.0 M"},
		{-999.5, "-1 k", "-0.0 M"}, {405e3, "405 k", "0.4 M"}, {86.57e6, "86.6 M", "86.6 M"}, {632e6, "632 M", "632.0 M"},
		{999.94e6, "1 G", "999.9 M"}, {999.96e6, "1 G", "1.0 G"}, {17.58e9, "17.6 G", "17.6 G"}, {191.2e9, "191 G", "191.2 G"}, {-2.5e9, "-2.5 G", "-2.5 G"},
		{2.99e12, "2.99 T", "3.0 T"}, {4.2e15, "4.2 P", "4.2 P"}, {7e18, "7 E", "7.0 E"}, {7e21, "7e+03 E", "7000.0 E"},
		{math.NaN(), "-", "-"}, {math.Inf(1), "-", "-"}, {math.Inf(-1), "-", "-"},
	} {
		if got := Count(c.x); got != c.count {
			t.Errorf("Count(%g) is %q, want %q", c.x, got, c.count)
		}
		if got := CountTenths(c.x); got != c.tenths {
			t.Errorf("CountTenths(%g) is %q, want %q", c.x, got, c.tenths)
		}
	}
}

func TestRate(t *testing.T) {
	for _, c := range []struct {
		perSecond float64
		want      string
	}{
		{0, "0 FLOP/s"}, {999, "999 FLOP/s"}, {999.5, "1 kFLOP/s"}, {1.234e12, "1.23 TFLOP/s"}, {312e12, "312 TFLOP/s"}, {-5e9, "-5 GFLOP/s"},
		{math.NaN(), "-"}, {math.Inf(1), "-"},
	} {
		if got := Rate(c.perSecond, "FLOP"); got != c.want {
			t.Errorf("Rate(%g) is %q, want %q", c.perSecond, got, c.want)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		seconds       float64
		whole, tenths string
	}{
		{0, "0s", "0.0s"}, {0.4, "0s", "0.4s"}, {12.34, "12s", "12.3s"}, {59.4, "59s", "59.4s"}, {59.94, "1m00s", "59.9s"}, {59.96, "1m00s", "1m00s"},
		{199.6, "3m20s", "3m20s"}, {3599.4, "59m59s", "59m59s"}, {3599.6, "1h00m", "1h00m"}, {3725, "1h02m", "1h02m"},
		{48*3600 - 1, "47h59m", "47h59m"}, {48 * 3600, "2d00h", "2d00h"}, {1e6, "11d13h", "11d13h"},
		{-0.2, "0s", "-0.2s"}, {-5, "-5s", "-5.0s"}, {-65, "-1m05s", "-1m05s"},
		{math.NaN(), "-", "-"}, {math.Inf(1), "-", "-"}, {math.Inf(-1), "-", "-"},
		{1e300, "53375995583650d07h", "53375995583650d07h"}, // as much as an int64 of seconds holds
	} {
		if got := Duration(c.seconds); got != c.whole {
			t.Errorf("Duration(%g) is %q, want %q", c.seconds, got, c.whole)
		}
		if got := DurationTenths(c.seconds); got != c.tenths {
			t.Errorf("DurationTenths(%g) is %q, want %q", c.seconds, got, c.tenths)
		}
	}
}

func TestHours(t *testing.T) {
	for _, c := range []struct {
		hours float64
		want  string
	}{
		{0, "0 s"}, {30. / 3600, "30 s"}, {59.96 / 3600, "1 min"}, {5. / 60, "5 min"}, {59.4 / 60, "59 min"}, {59.7 / 60, "1.0 h"},
		{3.21, "3.2 h"}, {9.94, "9.9 h"}, {9.96, "10 h"}, {4830, "4830 h"}, {-2, "-2.0 h"}, {math.NaN(), "-"}, {math.Inf(1), "-"},
	} {
		if got := Hours(c.hours); got != c.want {
			t.Errorf("Hours(%g) is %q, want %q", c.hours, got, c.want)
		}
	}
}

func TestPercentages(t *testing.T) {
	for _, c := range []struct {
		x                             float64
		percent, accuracy, hundredths string
	}{
		{0, "0 %", "0.00 %", "0.00"}, {38.2, "38 %", "38.20 %", "38.20"}, {81.499, "81 %", "81.50 %", "81.50"}, {99.6, "100 %", "99.60 %", "99.60"}, {-1.5, "-2 %", "-1.50 %", "-1.50"},
		{math.NaN(), "-", "-", "-"}, {math.Inf(1), "-", "-", "-"},
	} {
		if got := Percent(c.x); got != c.percent {
			t.Errorf("Percent(%g) is %q, want %q", c.x, got, c.percent)
		}
		if got := Accuracy(c.x); got != c.accuracy {
			t.Errorf("Accuracy(%g) is %q, want %q", c.x, got, c.accuracy)
		}
		if got := Hundredths(c.x); got != c.hundredths {
			t.Errorf("Hundredths(%g) is %q, want %q", c.x, got, c.hundredths)
		}
	}
}
