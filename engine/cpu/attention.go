package cpu

import (
	"math"

	"hatchery/engine/cpu/gemm"
	"hatchery/engine/cpu/vec"
	"hatchery/engine/nn"
)

// queryBlock is the number of queries of a head that are processed at once. Their scores
// against all keys fit into a core's L2 cache. The whole score matrix is never stored.
const queryBlock = 128

// heads is the common part of attention and its gradient. One head of one sample is a
// task, which processes its queries block by block.
type heads struct {
	b, n, h, d int     // samples, tokens, heads, width of a head
	c          int     // h*d
	scale      float32 // 1/sqrt(d)
	rows       [2]int  // queries in a block, and in the last one
	scores     int     // floats for the scores of a block
	packing    int     // floats of scratch space for the products
}

func newHeads(b, n, h, d int) *heads {
	rows := min(n, queryBlock)
	return &heads{
		b: b, n: n, h: h, d: d, c: h * d, scale: float32(1 / math.Sqrt(float64(d))),
		rows: [2]int{rows, (n-1)%queryBlock + 1}, scores: (rows*n + 15) &^ 15,
	}
}

// plan prepares a product for a block of queries, and one for the last block.
func (a *heads) plan(shape func(rows int) gemm.Shape) (p [2]*gemm.Plan, err error) {
	for i, rows := range a.rows {
		if p[i], err = gemm.New(shape(rows), 1); err != nil {
			return p, err
		}
		a.packing = max(a.packing, p[i].Scratch())
	}
	return p, nil
}

// queriesByKeys returns the shape of [rows, D] times the transpose of [N, D], which gives a
// block of scores or their gradient. ldq is the leading dimension of the queries.
func (a *heads) queriesByKeys(ldq int) func(rows int) gemm.Shape {
	return func(rows int) gemm.Shape {
		return gemm.Shape{M: rows, N: a.n, K: a.d, TransB: true, LDA: ldq, LDB: 3 * a.c, LDC: a.n}
	}
}

// scoresByTokens returns the shape of [rows, N] times [N, D].
func (a *heads) scoresByTokens(ldc int) func(rows int) gemm.Shape {
	return func(rows int) gemm.Shape {
		return gemm.Shape{M: rows, N: a.d, K: a.n, LDA: a.n, LDB: 3 * a.c, LDC: ldc}
	}
}

// scoresByQueries returns the shape of the transpose of [rows, N] times [rows, D].
func (a *heads) scoresByQueries(ldq int) func(rows int) gemm.Shape {
	return func(rows int) gemm.Shape {
		return gemm.Shape{M: a.n, N: a.d, K: rows, TransA: true, LDA: a.n, LDB: ldq, LDC: 3 * a.c}
	}
}

// packed returns the queries, keys and values of a task in qkv [B, N, 3, H, D], whose rows
// are 3*c apart.
func (a *heads) packed(qkv []float32, task int) (q, k, v []float32) {
	first := task/a.h*a.n*3*a.c + task%a.h*a.d
	return qkv[first:], qkv[first+a.c:], qkv[first+2*a.c:]
}

// merged returns the rows of a task in x [B, N, H, D], which are c apart.
func (a *heads) merged(x []float32, task int) []float32 {
	return x[task/a.h*a.n*a.c+task%a.h*a.d:]
}

// last returns 1 if the block that begins with query first is the last one, whose size may
// differ, else 0.
func (a *heads) last(first int) int {
	if first+queryBlock >= a.n {
		return 1
	}
	return 0
}

// attentionForward returns a function that computes softmax(q kᵀ/sqrt(D)) v.
func attentionForward(kernel nn.AttentionForward, out, qkv []float32, pool *Pool, s *scratch) (func(), error) {
	a := newHeads(kernel.B, kernel.N, kernel.H, kernel.D)
	scores, err := a.plan(a.queriesByKeys(3 * a.c))
	if err != nil {
		return nil, err
	}
	mix, err := a.plan(a.scoresByTokens(a.c))
	if err != nil {
		return nil, err
	}
	each := a.scores + a.packing
	s.reserve(pool.Workers() * each)
	task := func(worker, task int) {
		buf := s.floats[worker*each:][:each]
		p, packing := buf[:a.scores], buf[a.scores:]
		q, k, v := a.packed(qkv, task)
		for first := 0; first < a.n; first += queryBlock {
			last := a.last(first)
			scores[last].Do(packing, gemm.Operands{Alpha: 1, A: q[first*3*a.c:], B: k, C: p})
			for i := range a.rows[last] {
				row := p[i*a.n:][:a.n]
				vec.Softmax(row, row, a.scale)
			}
			mix[last].Do(packing, gemm.Operands{Alpha: 1, A: p, B: v, C: a.merged(out, task)[first*a.c:]})
		}
	}
	return func() { pool.Run(a.b*a.h, task) }, nil
}

// attentionBackward returns a function that computes the gradient of attention. It
// recomputes the probabilities from the queries and keys.
func attentionBackward(kernel nn.AttentionBackward, dqkv, qkv, dout []float32, pool *Pool, s *scratch) (func(), error) {
	a := newHeads(kernel.B, kernel.N, kernel.H, kernel.D)
	var plans [5][2]*gemm.Plan
	for i, shape := range []func(int) gemm.Shape{
		a.queriesByKeys(3 * a.c), a.queriesByKeys(a.c), a.scoresByTokens(3 * a.c), a.scoresByQueries(a.c), a.scoresByQueries(3 * a.c),
	} {
		var err error
		if plans[i], err = a.plan(shape); err != nil {
			return nil, err
		}
	}
	each := 2*a.scores + a.packing
	s.reserve(pool.Workers() * each)
	task := func(worker, task int) {
		buf := s.floats[worker*each:][:each]
		p, dp, packing := buf[:a.scores], buf[a.scores:2*a.scores], buf[2*a.scores:]
		q, k, v := a.packed(qkv, task)
		dq, dk, dv := a.packed(dqkv, task)
		do := a.merged(dout, task)
		for first := 0; first < a.n; first += queryBlock {
			last := a.last(first)
			qs, dos := q[first*3*a.c:], do[first*a.c:]
			plans[0][last].Do(packing, gemm.Operands{Alpha: 1, A: qs, B: k, C: p})
			plans[1][last].Do(packing, gemm.Operands{Alpha: 1, A: dos, B: v, C: dp})
			for i := range a.rows[last] {
				y, dy := p[i*a.n:][:a.n], dp[i*a.n:][:a.n]
				vec.Softmax(y, y, a.scale)
				vec.SoftmaxBackward(dy, dy, y, a.scale)
			}
			beta := float32(1)
			if first == 0 {
				beta = 0
			}
			plans[2][last].Do(packing, gemm.Operands{Alpha: 1, A: dp, B: k, C: dq[first*3*a.c:]})
			plans[3][last].Do(packing, gemm.Operands{Alpha: 1, A: p, B: dos, Beta: beta, C: dv})
			plans[4][last].Do(packing, gemm.Operands{Alpha: 1, A: dp, B: qs, Beta: beta, C: dk})
		}
	}
	return func() { pool.Run(a.b*a.h, task) }, nil
}
