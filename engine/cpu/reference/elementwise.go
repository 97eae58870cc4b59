package reference

import (
	"math"

	"hatchery/engine/nn"
)

// moments returns the mean of x and 1/sqrt(variance + eps).
func moments[T Float](x []T, eps float64) (mean, rstd float64) {
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
	}
	mean = sum / float64(len(x))
	for _, v := range x {
		d := float64(v) - mean
		squares += d * d
	}
	return mean, 1 / math.Sqrt(squares/float64(len(x))+eps)
}

func layerNorm[T Float](y, stats, x, gamma, beta []T, k nn.LayerNormForward) {
	n := k.N
	for i := range k.M {
		row := x[i*n:][:n]
		mean, rstd := moments(row, k.Eps)
		if stats != nil {
			stats[2*i], stats[2*i+1] = T(mean), T(rstd)
		}
		if y == nil {
			continue
		}
		for j, v := range row {
			y[i*n+j] = T((float64(v)-mean)*rstd)*gamma[j] + beta[j]
		}
	}
}

func layerNormBackward[T Float](dx, dgamma, dbeta, x, gamma, dy, stats []T, k nn.LayerNormBackward) {
	n := k.N
	clear(dgamma)
	clear(dbeta)
	for i := range k.M {
		row, drow := x[i*n:][:n], dy[i*n:][:n]
		mean, rstd := float64(stats[2*i]), float64(stats[2*i+1])
		var sum, dot float64
		for j, d := range drow {
			h := (float64(row[j]) - mean) * rstd
			g := float64(d) * float64(gamma[j])
			sum += g
			dot += g * h
			if dgamma != nil {
				dgamma[j] += d * T(h)
			}
			if dbeta != nil {
				dbeta[j] += d
			}
		}
		if dx == nil {
			continue
		}
		sum, dot = sum/float64(n), dot/float64(n)
		for j, d := range drow {
			h := (float64(row[j]) - mean) * rstd
			dx[i*n+j] = T((float64(d)*float64(gamma[j]) - sum - h*dot) * rstd)
		}
	}
}

func gelu[T Float](y, x []T) {
	for i, v := range x {
		y[i] = T(float64(v) * 0.5 * (1 + math.Erf(float64(v)/math.Sqrt2)))
	}
}

func geluBackward[T Float](dx, x, dy []T) {
	for i, v := range x {
		f := float64(v)
		cdf := 0.5 * (1 + math.Erf(f/math.Sqrt2))
		pdf := math.Exp(-f*f/2) / math.Sqrt(2*math.Pi)
		dx[i] = T(float64(dy[i]) * (cdf + f*pdf))
	}
}

func residual[T Float](y []T, in [][]T, k nn.ResidualForward) {
	x, f := in[0], in[1]
	for i := range y {
		if k.DropPath {
			y[i] = x[i] + in[2][i/k.N]*f[i]
		} else {
			y[i] = x[i] + f[i]
		}
	}
}

func scaleSamples[T Float](y, x, scale []T, k nn.ScaleSamples) {
	for i := range y {
		y[i] = scale[i/k.N] * x[i]
	}
}

func add[T Float](y, a, b []T) {
	for i := range y {
		y[i] = a[i] + b[i]
	}
}

func sum[T Float](y []T, in [][]T) {
	y[0] = 0
	for _, x := range in {
		y[0] += x[0]
	}
}
