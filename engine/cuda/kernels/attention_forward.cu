// Attention on tensor cores: out = softmax(q kᵀ / sqrt(D)) v for each head,
// without writing the scores. A warp has 16 queries. The softmax is of base 2:
// `scale` is log2(e)/sqrt(D). Grids are (blocks of a head, heads, samples).
#include "attention.cuh"

namespace attention {

// weights turns scores into unnormalised weights, 2^(scale (s - top)), and adds
// them to the sums of the lane's two rows.
template <int n> __device__ __forceinline__ void weights(float (&s)[n][4], float (&sum)[2], const float (&top)[2], float scale) {
#pragma unroll
	for (int i = 0; i < 4; i++) {
		float shift = -top[i / 2] * scale;
#pragma unroll
		for (int j = 0; j < n; j++) {
			s[j][i] = exp2_fast(fmaf(s[j][i], scale, shift));
			sum[i / 2] += s[j][i];
		}
	}
}

// highest raises top to the greatest of the scores of each row.
template <int n> __device__ __forceinline__ void highest(float (&top)[2], const float (&s)[n][4]) {
#pragma unroll
	for (int i = 0; i < 4; i++)
#pragma unroll
		for (int j = 0; j < n; j++) top[i / 2] = fmaxf(top[i / 2], s[j][i]);
	top[0] = quad_max(top[0]);
	top[1] = quad_max(top[1]);
}

// finish divides by the sums and writes the warp's 16 rows, `first` the first
// of them, of out and of lse, the natural logarithms of the sums of exponentials.
// `mine` is a part of a tile that no other warp uses.
template <int W>
__device__ __forceinline__ void finish(bf16 *out, float *lse, bf16 *mine, const float (&o)[W / 8][4], const float (&top)[2], float (&sum)[2],
                                       float scale, int first, int n, int d) {
	unsigned c = gridDim.y * d;
	int row = first + threadIdx.x % 32 / 4;
	sum[0] = quad_sum(sum[0]);
	sum[1] = quad_sum(sum[1]);
	if (lse && threadIdx.x % 4 == 0) {
		float *at = lse + tokens(n) + row;
		if (row < n) at[0] = (top[0] * scale + log2f(sum[0])) * ln_2;
		if (row + 8 < n) at[8] = (top[1] * scale + log2f(sum[1])) * ln_2;
	}
	__syncwarp();
	put_result<W>(mine, o, 1.f / sum[0], 1.f / sum[1]);
	__syncwarp();
	store_rows<W>(out + position(1, n, d) + (size_t)first * c, c, mine, n - first, d);
}

// forward_short is for sequences that fit a block: one block a head.
template <int W> __device__ __forceinline__ void forward_short(bf16 *out, float *lse, const bf16 *qkv, int n, int d, float scale) {
	constexpr int pieces = short_tokens / 16, size = short_tokens * stride<W>;
	DYNAMIC_SHARED(bf16, q);
	bf16 *k = q + size, *v = k + size;
	unsigned c = gridDim.y * d;
	const bf16 *from = qkv + position(3, n, d);
#pragma unroll 1
	for (int part = 0; part < 3; part++) {
		copy_rows<W>(q + part * size, from + part * c, 3 * c, short_tokens, n, d);
		if (part > 0) copy_commit();
	}
	copy_wait<1>();
	__syncthreads();

	int first = threadIdx.x / 32 * 16;
	bf16 *mine = q + first * stride<W>;
	float s[2 * pieces][4], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
	zero_or_masked(s, n);
#pragma unroll 2
	for (int i = 0; i < W / 16; i++) {
		Left a;
		load_matrix_x4(a, left_address(mine, stride<W>) + 16 * i);
#pragma unroll
		for (int j = 0; j < pieces; j++) add_row_products<W>(s[2 * j], s[2 * j + 1], a, k + 16 * j * stride<W> + 16 * i);
	}
	highest(top, s);
	weights(s, sum, top, scale);
	Left p[pieces];
#pragma unroll
	for (int j = 0; j < pieces; j++) as_left(p[j], s[2 * j], s[2 * j + 1]);

	copy_wait<0>();
	__syncthreads();
	float o[W / 8][4];
	zero(o);
#pragma unroll
	for (int j = 0; j < pieces; j++) add_weighted_rows<W>(o, p[j], v + 16 * j * stride<W>);
	finish<W>(out, lse, mine, o, top, sum, scale, first, n, d);
}

// forward_long goes over the keys step by step; the softmax's maximum and sum
// follow, and what has been added up shrinks when the maximum rises. A block
// has blockDim.x/2 queries.
template <int W> __device__ __forceinline__ void forward_long(bf16 *out, float *lse, const bf16 *qkv, int n, int d, float scale) {
	constexpr int pieces = step_tokens / 16, size = step_tokens * stride<W>;
	DYNAMIC_SHARED(bf16, q);
	int queries = blockDim.x / 2, begin = blockIdx.x * queries;
	bf16 *kv = q + queries * stride<W>; // keys, values, and both of the next step
	unsigned c = gridDim.y * d;
	const bf16 *from = qkv + position(3, n, d);

	copy_rows<W>(q, from + (size_t)begin * 3 * c, 3 * c, queries, n - begin, d);
	bf16 *mine = q + threadIdx.x / 32 * 16 * stride<W>;
	Left a[W / 16];
	float o[W / 8][4], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
	zero(o);

#pragma unroll 1
	for (int step = -step_tokens; step < n; step += step_tokens) {
		int next = step + step_tokens;
		bool odd = step & step_tokens; // the two buffers take turns
		const bf16 *now = kv + (odd ? 2 * size : 0);
		if (next < n) {
#pragma unroll 1
			for (int part = 0; part < 2; part++)
				copy_rows<W>(kv + (odd ? 0 : 2 * size) + part * size, from + (size_t)next * 3 * c + (part + 1) * c, 3 * c, step_tokens, n - next, d);
		}
		copy_commit();
		if (step < 0) continue;
		copy_wait<1>();
		__syncthreads();
		if (step == 0) load_left<W>(a, mine);

		int left = n - step;
		float s[2 * pieces][4], before[2] = {top[0], top[1]};
		zero_or_masked(s, left);
#pragma unroll
		for (int j = 0; j < pieces; j += 2)
			if (16 * j < left) {
#pragma unroll
				for (int i = 0; i < W / 16; i++) {
					const bf16 *k = now + 16 * j * stride<W> + 16 * i;
					add_row_products<W>(s[2 * j], s[2 * j + 1], a[i], k);
					add_row_products<W>(s[2 * j + 2], s[2 * j + 3], a[i], k + 16 * stride<W>);
				}
			}
		highest(top, s);
#pragma unroll
		for (int i = 0; i < 2; i++) {
			float shrink = exp2_fast((before[i] - top[i]) * scale);
			sum[i] *= shrink; // of this lane's columns; added up at the end
#pragma unroll
			for (int j = 0; j < W / 8; j++) {
				o[j][2 * i] *= shrink;
				o[j][2 * i + 1] *= shrink;
			}
		}
		weights(s, sum, top, scale);
#pragma unroll
		for (int j = 0; j < pieces; j += 2)
			if (16 * j < left) {
#pragma unroll
				for (int i = j; i < j + 2; i++) {
					Left p;
					as_left(p, s[2 * i], s[2 * i + 1]);
					add_weighted_rows<W>(o, p, now + size + 16 * i * stride<W>);
				}
			}
		__syncthreads(); // before the next step's copies overwrite these keys
	}
	finish<W>(out, lse, mine, o, top, sum, scale, begin + threadIdx.x / 32 * 16, n, d);
}

} // namespace attention

#define ATTENTION_SHORT(W)                                                                                                                      \
	extern "C" __global__ void __launch_bounds__(2 * attention::short_tokens, 4)                                                                \
	    attention_short_##W##_bf16(bf16 *out, float *lse, const bf16 *qkv, int n, int d, float scale) {                                         \
		attention::forward_short<W>(out, lse, qkv, n, d, scale);                                                                                \
	}                                                                                                                                           \
	EMULATED(attention_short_##W##_bf16)
#define ATTENTION_LONG(W)                                                                                                                       \
	extern "C" __global__ void __launch_bounds__(32 * attention::most_warps<W>, 2)                                                              \
	    attention_long_##W##_bf16(bf16 *out, float *lse, const bf16 *qkv, int n, int d, float scale) {                                          \
		attention::forward_long<W>(out, lse, qkv, n, d, scale);                                                                                 \
	}                                                                                                                                           \
	EMULATED(attention_long_##W##_bf16)

ATTENTION_SHORT(64)
ATTENTION_LONG(48)
ATTENTION_LONG(64)
ATTENTION_LONG(80)
ATTENTION_LONG(96)
