// What the tensor-core kernels of attention share: tiles of a head in shared
// memory, and products of 16x16 pieces of them.
//
// A head's queries, keys and values are D numbers wide; in shared memory a row
// is W numbers, W being the next width that there are kernels for, with zeros
// behind D: they change no product. Tokens are rounded up to a multiple of 16
// in the same way. Rows lie W+8 numbers apart, an odd multiple of 16 bytes, so
// that the eight rows that ldmatrix reads at once lie in different banks.
//
// In a warp, g = lane/4 and t = lane%4. A 16x8 piece of a result lies in four
// floats of each lane: (g,2t) (g,2t+1) (g+8,2t) (g+8,2t+1). Two of them beside
// each other, rounded to bf16, are the left operand (16x16) of the next
// product, without an exchange between lanes.
#pragma once
#include <math.h>

#include "ptx.cuh"

namespace attention {

// Keys (or queries) that a block holds in shared memory at once.
constexpr int short_tokens = 80; // of a short sequence: all of them
constexpr int step_tokens = 64;  // of a long one, twice: one is read while the other is used

// Warps of a block on a long sequence: as many as leave room for the registers
// of two blocks (128 a thread, or 168).
template <int W> constexpr int most_warps = W <= 64 ? 8 : 6;

constexpr float log2_e = 1.44269504088896340736f;
constexpr float ln_2 = 0.69314718055994530942f;

template <int W> constexpr int stride = W + 8;

// position is the element where a head's rows begin in [B, N, parts, H, D].
__device__ __forceinline__ size_t position(int parts, int n, int d) {
	return (size_t)blockIdx.z * n * parts * gridDim.y * d + blockIdx.y * d;
}

// tokens is where a head begins in [B, H, N].
__device__ __forceinline__ size_t tokens(int n) { return ((size_t)blockIdx.z * gridDim.y + blockIdx.y) * n; }

// A 16x16 left operand, and a 16x16 result.
typedef uint32_t Left[4];
typedef float Result[2][4];

// left_address is where a lane reads for ldmatrix.x4 of the 16x16 piece at p,
// as a left operand, or with _t as a right operand whose rows are summed over.
__device__ __forceinline__ const bf16 *left_address(const bf16 *p, int apart) {
	int lane = threadIdx.x % 32;
	return p + lane % 16 * apart + lane / 16 * 8;
}

// right_address is the same for a right operand whose columns are summed over,
// or with _t for the transpose of a left operand.
__device__ __forceinline__ const bf16 *right_address(const bf16 *p, int apart) {
	int lane = threadIdx.x % 32;
	return p + (lane % 8 + lane / 16 * 8) * apart + lane / 8 % 2 * 8;
}

// zero sets a result to zero.
template <int n> __device__ __forceinline__ void zero(float (&c)[n][4]) {
#pragma unroll
	for (int i = 0; i < n; i++) c[i][0] = c[i][1] = c[i][2] = c[i][3] = 0.f;
}

// zero_or_masked sets scores to zero, and those of keys from n on to what
// vanishes in the softmax. Rows of such keys are zero, so products added to
// the scores leave it. A finite number: -inf would have to go through the
// tensor cores.
template <int k> __device__ __forceinline__ void zero_or_masked(float (&c)[k][4], int n) {
#pragma unroll
	for (int i = 0; i < k; i++)
#pragma unroll
		for (int j = 0; j < 4; j++) c[i][j] = (int)(8 * i + threadIdx.x % 4 * 2 + j % 2) < n ? 0.f : -1e30f;
}

// as_left rounds 16 columns of a result to bf16, as a left operand.
__device__ __forceinline__ void as_left(Left &a, const float (&c0)[4], const float (&c1)[4]) {
	a[0] = pack(c0[0], c0[1]);
	a[1] = pack(c0[2], c0[3]);
	a[2] = pack(c1[0], c1[1]);
	a[3] = pack(c1[2], c1[3]);
}

// add_row_products: c[:, j] += a b[j] for 16 rows b[j] of a tile at b, over 16
// of its columns, those of a: a part of 16 scores of 16 queries.
template <int W> __device__ __forceinline__ void add_row_products(float (&c0)[4], float (&c1)[4], const Left &a, const bf16 *b) {
	uint32_t r[4];
	load_matrix_x4(r, right_address(b, stride<W>));
	multiply_add(c0, a, r[0], r[1]);
	multiply_add(c1, a, r[2], r[3]);
}

// add_weighted_rows: c += a b for 16 rows of a tile at b: rows weighted by a.
template <int W> __device__ __forceinline__ void add_weighted_rows(float (&c)[W / 8][4], const Left &a, const bf16 *b) {
	const bf16 *from = left_address(b, stride<W>);
#pragma unroll
	for (int i = 0; i < W / 16; i++) {
		uint32_t r[4];
		load_matrix_x4_t(r, from + 16 * i);
		multiply_add(c[2 * i], a, r[0], r[1]);
		multiply_add(c[2 * i + 1], a, r[2], r[3]);
	}
}

// load_left reads 16 rows of a tile as left operands.
template <int W> __device__ __forceinline__ void load_left(Left (&a)[W / 16], const bf16 *rows) {
#pragma unroll
	for (int k = 0; k < W / 16; k++) load_matrix_x4(a[k], left_address(rows, stride<W>) + 16 * k);
}

// quad_sum and quad_max are taken over the four lanes that share a row.
__device__ __forceinline__ float quad_sum(float v) {
	v += __shfl_xor_sync(0xffffffffu, v, 1);
	return v + __shfl_xor_sync(0xffffffffu, v, 2);
}
__device__ __forceinline__ float quad_max(float v) {
	v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
	return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

// copy_rows begins to copy rows of d numbers, `distance` apart, into a tile, by
// all threads of the block. Rows from `valid` on and columns from d on become
// zero. Rows of multiples of 8 numbers must be aligned to 16 bytes; they are
// copied asynchronously, others (d = 45) by ordinary loads.
template <int W> __device__ __forceinline__ void copy_rows(bf16 *tile, const bf16 *from, unsigned distance, unsigned rows, int valid, unsigned d) {
	if (d % 8 == 0) {
#pragma unroll 1
		for (unsigned i = threadIdx.x; i < rows * (W / 8); i += blockDim.x) {
			unsigned r = i / (W / 8), c = i % (W / 8) * 8;
			bf16 *to = tile + r * stride<W> + c;
			if ((int)r < valid && c < d) copy_async<16>(to, from + r * distance + c);
			else *(uint4 *)to = make_uint4(0, 0, 0, 0);
		}
	} else {
#pragma unroll 1
		for (unsigned i = threadIdx.x; i < rows * (W / 2); i += blockDim.x) {
			unsigned r = i / (W / 2), c = i % (W / 2) * 2;
			const bf16 *at = from + r * distance + c;
			uint32_t lo = (int)r < valid && c < d ? at[0].bits : 0, hi = (int)r < valid && c + 1 < d ? at[1].bits : 0;
			*(uint32_t *)(tile + r * stride<W> + c) = lo | hi << 16;
		}
	}
}

// put_rounded puts a result of 16 rows that is already in bf16 into a tile. It,
// put_result and store_rows are for one warp, which owns the rows.
template <int W> __device__ __forceinline__ void put_rounded(bf16 *rows, const uint32_t (&c)[W / 8][2]) {
	uint32_t *at = (uint32_t *)(rows + threadIdx.x % 32 / 4 * stride<W> + threadIdx.x % 4 * 2);
#pragma unroll
	for (int i = 0; i < W / 8; i++) {
		at[4 * i] = c[i][0];
		at[4 * i + 4 * stride<W>] = c[i][1];
	}
}

// round_result is a result times a factor for each of the lane's two rows, in bf16.
template <int n> __device__ __forceinline__ void round_result(uint32_t (&r)[n][2], const float (&c)[n][4], float factor, float factor8) {
#pragma unroll
	for (int i = 0; i < n; i++) {
		r[i][0] = pack(c[i][0] * factor, c[i][1] * factor);
		r[i][1] = pack(c[i][2] * factor8, c[i][3] * factor8);
	}
}

template <int W> __device__ __forceinline__ void put_result(bf16 *rows, const float (&c)[W / 8][4], float factor, float factor8) {
	uint32_t r[W / 8][2];
	round_result(r, c, factor, factor8);
	put_rounded<W>(rows, r);
}

// store_rows writes the first `valid` of 16 rows of a tile to memory.
template <int W> __device__ __forceinline__ void store_rows(bf16 *to, unsigned distance, const bf16 *rows, int valid, unsigned d) {
	if (d % 8 == 0) {
#pragma unroll 1
		for (unsigned i = threadIdx.x % 32; i < 16 * (W / 8); i += 32) {
			unsigned r = i / (W / 8), c = i % (W / 8) * 8;
			if ((int)r < valid && c < d) *(uint4 *)(to + r * distance + c) = *(const uint4 *)(rows + r * stride<W> + c);
		}
	} else {
#pragma unroll 1
		for (unsigned i = threadIdx.x % 32; i < 16 * W; i += 32) {
			unsigned r = i / W, c = i % W;
			if ((int)r < valid && c < d) to[r * distance + c] = rows[r * stride<W> + c];
		}
	}
}

} // namespace attention
