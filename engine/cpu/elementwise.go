package cpu

import (
	"hatchery/engine/cpu/vec"
	"hatchery/engine/graph"
	"hatchery/engine/nn"
)

// taskElements is about the number of elements in a task of a cheap kernel: enough to make
// the task worthwhile, few enough for a core's L2 cache.
const taskElements = 1 << 14

// chunks returns a function that calls f with ranges that cover n elements, one range per
// task.
func chunks(pool *Pool, n int, f func(lo, hi int)) func() {
	task := func(_, i int) { f(i*taskElements, min((i+1)*taskElements, n)) }
	tasks := (n + taskElements - 1) / taskElements
	return func() { pool.Run(tasks, task) }
}

// rowBlock returns the number of rows of n elements in a task.
func rowBlock(n int) int { return max(1, taskElements/n) }

// rows returns a function that calls f with ranges that cover m rows of n elements, one
// range per task.
func rows(pool *Pool, m, n int, f func(worker, lo, hi int)) func() {
	block := rowBlock(n)
	task := func(worker, i int) { f(worker, i*block, min((i+1)*block, m)) }
	tasks := (m + block - 1) / block
	return func() { pool.Run(tasks, task) }
}

func add(k graph.Add, y, a, b []float32, pool *Pool) func() {
	return chunks(pool, k.N, func(lo, hi int) { vec.Add(y[lo:hi], a[lo:hi], b[lo:hi]) })
}

func gelu(k nn.GELUForward, y, x []float32, pool *Pool) func() {
	return chunks(pool, k.N, func(lo, hi int) { vec.GELU(y[lo:hi], x[lo:hi]) })
}

func geluBackward(k nn.GELUBackward, dx, x, dy []float32, pool *Pool) func() {
	return chunks(pool, k.N, func(lo, hi int) { vec.GELUBackward(dx[lo:hi], dy[lo:hi], x[lo:hi]) })
}

func residual(k nn.ResidualForward, y []float32, in [][]float32, pool *Pool) func() {
	x, f := in[0], in[1]
	if !k.DropPath {
		return add(graph.Add{N: k.B * k.N}, y, x, f, pool)
	}
	return rows(pool, k.B, k.N, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			first, end := i*k.N, (i+1)*k.N
			vec.AddScaled(y[first:end], x[first:end], f[first:end], in[2][i])
		}
	})
}

func scaleSamples(k nn.ScaleSamples, y, x, scale []float32, pool *Pool) func() {
	return rows(pool, k.B, k.N, func(_, lo, hi int) {
		for i := lo; i < hi; i++ {
			vec.Scale(y[i*k.N:(i+1)*k.N], x[i*k.N:(i+1)*k.N], scale[i])
		}
	})
}

// columnSum sums blocks of rows, then the blocks in order.
func columnSum(k nn.ColumnSum, y, x []float32, pool *Pool, s *scratch) func() {
	block := rowBlock(k.N)
	blocks := (k.M + block - 1) / block
	s.reserve(blocks * k.N)
	partial := rows(pool, k.M, k.N, func(_, lo, hi int) {
		sum := s.floats[lo/block*k.N:][:k.N]
		clear(sum)
		vec.ColumnSums(sum, x[lo*k.N:], hi-lo, k.N)
	})
	return func() {
		partial()
		clear(y)
		vec.ColumnSums(y, s.take(blocks*k.N), blocks, k.N)
	}
}

// layerNorm writes the result and the statistics of each row; either may be nil.
func layerNorm(k nn.LayerNormForward, y, stats, x, gamma, beta []float32, pool *Pool, s *scratch) func() {
	n := k.N
	s.reserve(pool.Workers() * n)
	return rows(pool, k.M, n, func(worker, lo, hi int) {
		for i := lo; i < hi; i++ {
			to := s.floats[worker*n:][:n]
			if y != nil {
				to = y[i*n : (i+1)*n]
			}
			mean, rstd := vec.LayerNorm(to, x[i*n:(i+1)*n], gamma, beta, float32(k.Eps))
			if stats != nil {
				stats[2*i], stats[2*i+1] = mean, rstd
			}
		}
	})
}

// layerNormBackward sums dgamma and dbeta over each block of rows, then over the blocks in
// order.
func layerNormBackward(k nn.LayerNormBackward, dx, dgamma, dbeta, x, gamma, dy, stats []float32, pool *Pool, s *scratch) func() {
	n := k.N
	block := rowBlock(n)
	blocks := (k.M + block - 1) / block
	spare := 2 * blocks * n // offset of one row for each worker
	s.reserve(spare + pool.Workers()*n)
	partial := rows(pool, k.M, n, func(worker, lo, hi int) {
		sums := s.floats[lo/block*2*n:][:2*n]
		clear(sums)
		for i := lo; i < hi; i++ {
			to := s.floats[spare+worker*n:][:n]
			if dx != nil {
				to = dx[i*n : (i+1)*n]
			}
			vec.LayerNormBackward(to, dy[i*n:(i+1)*n], x[i*n:(i+1)*n], gamma, sums[:n], sums[n:], nil, stats[2*i], stats[2*i+1])
		}
	})
	return func() {
		partial()
		for i, sum := range [2][]float32{dgamma, dbeta} {
			if sum != nil {
				clear(sum)
				vec.ColumnSums(sum, s.floats[i*n:], blocks, 2*n)
			}
		}
	}
}
