package cpu

import (
	"hatchery/engine/cpu/vec"
	"hatchery/engine/nn"
)

func patchify(k nn.Patchify, y, images []float32, pool *Pool) func() {
	side := k.Size / k.Patch
	return rows(pool, k.B, k.Channels*k.Size*k.Size, func(_, lo, hi int) {
		to := y[lo*k.Channels*k.Size*k.Size:]
		for b := lo; b < hi; b++ {
			for patch := range side * side {
				top, left := patch/side*k.Patch, patch%side*k.Patch
				for c := range k.Channels {
					for row := range k.Patch {
						n := copy(to, images[((b*k.Channels+c)*k.Size+top+row)*k.Size+left:][:k.Patch])
						to = to[n:]
					}
				}
			}
		}
	})
}

func tokens(k nn.TokensForward, y, x, cls, pos []float32, pool *Pool) func() {
	n := (k.N + 1) * k.C
	return rows(pool, k.B, n, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			row := y[i*n : (i+1)*n]
			vec.Add(row[:k.C], cls, pos)
			vec.Add(row[k.C:], x[i*k.N*k.C:(i+1)*k.N*k.C], pos[k.C:])
		}
	})
}

// tokensBackward sums over the samples, with one task per token.
func tokensBackward(k nn.TokensBackward, dx, dcls, dpos, dy []float32, pool *Pool) func() {
	n := (k.N + 1) * k.C
	sum := func(_, token int) {
		lo, hi := token*k.C, (token+1)*k.C
		if dpos != nil {
			clear(dpos[lo:hi])
			vec.ColumnSums(dpos[lo:hi], dy[lo:], k.B, n)
		}
		if dcls != nil && token == 0 {
			clear(dcls)
			vec.ColumnSums(dcls, dy, k.B, n)
		}
	}
	copyTokens := rows(pool, k.B, n, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			copy(dx[i*k.N*k.C:(i+1)*k.N*k.C], dy[i*n+k.C:])
		}
	})
	return func() {
		pool.Run(k.N+1, sum)
		if dx != nil {
			copyTokens()
		}
	}
}

func classTokenBackward(k nn.ClassTokenBackward, dx, dy []float32, pool *Pool) func() {
	n := k.N * k.C
	return rows(pool, k.B, n, func(_, lo, hi int) {
		clear(dx[lo*n : hi*n])
		for i := lo; i < hi; i++ {
			copy(dx[i*n:][:k.C], dy[i*k.C:])
		}
	})
}
