package cpu

import (
	"hatchery/engine/cpu/reference"
	"hatchery/engine/cpu/vec"
	"hatchery/engine/nn"
)

// patchify cuts samples apart: each is a task.
func patchify(k nn.Patchify, y, images []float32, pool *Pool) (func(), error) {
	return perSample(k.B, pool, func(lo, hi int) (func(), error) {
		part := k
		part.B = hi - lo
		n := k.Channels * k.Size * k.Size
		return reference.Bind(part, [][]float32{y[lo*n : hi*n]}, [][]float32{images[lo*n : hi*n]})
	})
}

// perSample binds the samples of a batch one by one.
func perSample(b int, pool *Pool, bind func(lo, hi int) (func(), error)) (func(), error) {
	parts := make([]func(), b)
	for i := range parts {
		var err error
		if parts[i], err = bind(i, i+1); err != nil {
			return nil, err
		}
	}
	task := func(_, i int) { parts[i]() }
	return func() { pool.Run(b, task) }, nil
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

// tokensBackward sums over samples for a range of tokens in each task.
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
	move := rows(pool, k.B, n, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			copy(dx[i*k.N*k.C:(i+1)*k.N*k.C], dy[i*n+k.C:])
		}
	})
	return func() {
		pool.Run(k.N+1, sum)
		if dx != nil {
			move()
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
