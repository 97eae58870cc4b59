package reference

func linear[T Float](y, x, w, bias []T, m, k, n int) {
	for i := range m {
		for j := range n {
			var s T
			for l := range k {
				s += x[i*k+l] * w[j*k+l]
			}
			if bias != nil {
				s += bias[j]
			}
			y[i*n+j] = s
		}
	}
}

func linearDx[T Float](dx, dy, w []T, m, k, n int) {
	clear(dx)
	for i := range m {
		for j := range n {
			for l := range k {
				dx[i*k+l] += dy[i*n+j] * w[j*k+l]
			}
		}
	}
}

func linearDw[T Float](dw, dy, x []T, m, k, n int) {
	clear(dw)
	for i := range m {
		for j := range n {
			for l := range k {
				dw[j*k+l] += dy[i*n+j] * x[i*k+l]
			}
		}
	}
}

func columnSum[T Float](y, x []T, m, n int) {
	clear(y)
	for i := range m {
		for j := range n {
			y[j] += x[i*n+j]
		}
	}
}
