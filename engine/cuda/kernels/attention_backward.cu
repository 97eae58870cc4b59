// The gradient of attention on tensor cores. With p = softmax(q kᵀ scale),
//
//	dv = pᵀ dout,  dp = dout vᵀ,  ds = p (dp - sum of p dp over the keys) scale,
//	dq = ds k,     dk = dsᵀ q.
//
// p is computed again from lse, the logarithms of the sums of exponentials, in
// base 2: p = 2^(q kᵀ scale log2(e) - lse log2(e)). The sum of p dp is also the
// sum of dout out over the width: `delta`. Grids are (blocks of a head, heads,
// samples).
#include "attention.cuh"

namespace attention {

// backward_short is for sequences that fit a block: one block a head, one warp
// for 16 tokens, first as queries, then as keys. What a warp needs of the
// others' p and ds goes through shared memory, where v and k were.
template <int W>
__device__ __forceinline__ void backward_short(bf16 *dqkv, const bf16 *qkv, const float *lse, const bf16 *dout, int n, int d, float scale) {
	constexpr int pieces = short_tokens / 16, apart = stride<short_tokens>;
	constexpr int size = short_tokens * stride<W>, room = size > short_tokens * apart ? size : short_tokens * apart;
	DYNAMIC_SHARED(bf16, q);
	bf16 *k = q + size, *v = k + room, *dy = v + room;
	unsigned c = gridDim.y * d;
	const bf16 *from = qkv + position(3, n, d);
	copy_rows<W>(q, from, 3 * c, short_tokens, n, d);
#pragma unroll 1
	for (int part = 0; part < 3; part++) { // k, v and dout
		copy_rows<W>(k + part * room, part < 2 ? from + (part + 1) * c : dout + position(1, n, d), part < 2 ? 3 * c : c, short_tokens, n, d);
		if (part != 1) copy_commit();
	}
	int first = threadIdx.x / 32 * 16, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
	float shift[2];
#pragma unroll
	for (int i = 0; i < 2; i++) shift[i] = first + g + 8 * i < n ? -log2_e * lse[tokens(n) + first + g + 8 * i] : 0.f;
	copy_wait<1>();
	__syncthreads();

	// p, rounded as the products will use it.
	Left p[pieces], ds[pieces];
	float s[2 * pieces][4];
	zero_or_masked(s, n);
#pragma unroll
	for (int i = 0; i < W / 16; i++) {
		Left a;
		load_matrix_x4(a, left_address(q + first * stride<W>, stride<W>) + 16 * i);
#pragma unroll
		for (int j = 0; j < pieces; j++) add_row_products<W>(s[2 * j], s[2 * j + 1], a, k + 16 * j * stride<W> + 16 * i);
	}
#pragma unroll
	for (int j = 0; j < 2 * pieces; j++)
#pragma unroll
		for (int i = 0; i < 2; i++)
			p[j / 2][j % 2 * 2 + i] = pack(exp2_fast(fmaf(s[j][2 * i], scale * log2_e, shift[i])), exp2_fast(fmaf(s[j][2 * i + 1], scale * log2_e, shift[i])));

	copy_wait<0>();
	__syncthreads();
	zero(s); // now dp
#pragma unroll
	for (int i = 0; i < W / 16; i++) {
		Left a;
		load_matrix_x4(a, left_address(dy + first * stride<W>, stride<W>) + 16 * i);
#pragma unroll
		for (int j = 0; j < pieces; j++) add_row_products<W>(s[2 * j], s[2 * j + 1], a, v + 16 * j * stride<W> + 16 * i);
	}
	float delta[2] = {0, 0};
#pragma unroll
	for (int j = 0; j < 2 * pieces; j++)
#pragma unroll
		for (int i = 0; i < 2; i++) {
			uint32_t pair = p[j / 2][j % 2 * 2 + i];
			delta[i] = fmaf(low(pair), s[j][2 * i], delta[i]);
			delta[i] = fmaf(high(pair), s[j][2 * i + 1], delta[i]);
		}
	delta[0] = quad_sum(delta[0]);
	delta[1] = quad_sum(delta[1]);
#pragma unroll
	for (int j = 0; j < 2 * pieces; j++)
#pragma unroll
		for (int i = 0; i < 2; i++) {
			uint32_t pair = p[j / 2][j % 2 * 2 + i];
			ds[j / 2][j % 2 * 2 + i] = pack(low(pair) * (s[j][2 * i] - delta[i]) * scale, high(pair) * (s[j][2 * i + 1] - delta[i]) * scale);
		}

	// An even word of a left operand is of row g, an odd one of row g+8.
	auto put = [&](bf16 *to, const Left(&a)[pieces]) {
		uint32_t *at = (uint32_t *)(to + (first + g) * apart + 2 * t);
#pragma unroll
		for (int j = 0; j < pieces; j++)
#pragma unroll
			for (int i = 0; i < 4; i++) at[8 * j + i / 2 * 4 + i % 2 * 4 * apart] = a[j][i];
	};
	__syncthreads(); // v has been used
	put(v, p);
	float sum[W / 8][4];
	uint32_t dq[W / 8][2], dk[W / 8][2];
	zero(sum);
#pragma unroll
	for (int j = 0; j < pieces; j++) add_weighted_rows<W>(sum, ds[j], k + 16 * j * stride<W>);
	round_result(dq, sum, 1.f, 1.f);
	__syncthreads(); // k has been used
	put(k, ds);
	__syncthreads();

	// The warp's 16 tokens as keys: columns of p and ds, rows of their transposes.
	auto columns = [&](const bf16 *weights, const bf16 *rows) {
		zero(sum);
#pragma unroll 1
		for (int j = 0; j < pieces; j++) {
			Left a;
			load_matrix_x4_t(a, right_address(weights + 16 * j * apart + first, apart));
			add_weighted_rows<W>(sum, a, rows + 16 * j * stride<W>);
		}
	};
	columns(k, q);
	round_result(dk, sum, 1.f, 1.f);
	columns(v, dy);
	__syncthreads(); // all has been used
	bf16 *mine = q + first * stride<W>;
	put_rounded<W>(mine, dq);
	put_rounded<W>(mine + size, dk);
	put_result<W>(mine + size + room, sum, 1.f, 1.f);
	__syncwarp();
#pragma unroll 1
	for (int part = 0; part < 3; part++)
		store_rows<W>(dqkv + position(3, n, d) + (size_t)first * 3 * c + part * c, 3 * c, mine + (part > 0 ? size : 0) + (part > 1 ? room : 0), n - first, d);
}

// backward_query gives dq of blockDim.x/2 queries, going over the keys, and
// writes delta [B, H, N] for backward_key.
template <int W>
__device__ __forceinline__ void backward_query(bf16 *dqkv, float *delta, const bf16 *qkv, const bf16 *out, const float *lse, const bf16 *dout, int n,
                                               int d, float scale) {
	constexpr int size = step_tokens * stride<W>;
	DYNAMIC_SHARED(bf16, q);
	int queries = blockDim.x / 2, begin = blockIdx.x * queries, first = threadIdx.x / 32 * 16;
	bf16 *dy = q + queries * stride<W>, *kv = dy + queries * stride<W>;
	unsigned c = gridDim.y * d;
	const bf16 *from = qkv + position(3, n, d);

	// delta: q's place holds out for a while.
	copy_rows<W>(q, out + position(1, n, d) + (size_t)begin * c, c, queries, n - begin, d);
	copy_rows<W>(dy, dout + position(1, n, d) + (size_t)begin * c, c, queries, n - begin, d);
	copy_commit();
	copy_wait<0>();
	__syncthreads();
	Left a[W / 16], b[W / 16]; // q and dout
	load_left<W>(a, q + first * stride<W>);
	load_left<W>(b, dy + first * stride<W>);
	float mean[2] = {0, 0}, shift[2];
#pragma unroll
	for (int k = 0; k < W / 16; k++)
#pragma unroll
		for (int i = 0; i < 4; i++) mean[i % 2] = fmaf(low(a[k][i]), low(b[k][i]), fmaf(high(a[k][i]), high(b[k][i]), mean[i % 2]));
#pragma unroll
	for (int i = 0; i < 2; i++) {
		int row = begin + first + threadIdx.x % 32 / 4 + 8 * i;
		mean[i] = quad_sum(mean[i]);
		shift[i] = row < n ? -log2_e * lse[tokens(n) + row] : 0.f;
		if (row < n && threadIdx.x % 4 == 0) delta[tokens(n) + row] = mean[i];
	}
	__syncthreads();
	copy_rows<W>(q, from + (size_t)begin * 3 * c, 3 * c, queries, n - begin, d);

	float dq[W / 8][4];
	zero(dq);
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
		if (step == 0) load_left<W>(a, q + first * stride<W>);

#pragma unroll 1
		for (int i = 0; i < min(step_tokens, n - step); i += 16) {
			const bf16 *k = now + i * stride<W>, *v = k + size;
			float s[2][4], dp[2][4];
			zero_or_masked(s, n - step - i);
			zero(dp);
#pragma unroll
			for (int j = 0; j < W / 16; j++) {
				add_row_products<W>(s[0], s[1], a[j], k + 16 * j);
				add_row_products<W>(dp[0], dp[1], b[j], v + 16 * j);
			}
#pragma unroll
			for (int j = 0; j < 2; j++)
#pragma unroll
				for (int l = 0; l < 4; l++)
					s[j][l] = exp2_fast(fmaf(s[j][l], scale * log2_e, shift[l / 2])) * (dp[j][l] - mean[l / 2]) * scale;
			Left ds;
			as_left(ds, s[0], s[1]);
			add_weighted_rows<W>(dq, ds, k);
		}
		__syncthreads(); // before the next step's copies overwrite these keys
	}
	put_result<W>(q + first * stride<W>, dq, 1.f, 1.f);
	__syncwarp();
	store_rows<W>(dqkv + position(3, n, d) + (size_t)(begin + first) * 3 * c, 3 * c, q + first * stride<W>, n - begin - first, d);
}

// backward_key gives dk and dv of blockDim.x/2 keys, going over the queries:
// scores and all that follows from them lie transposed, a row a key.
template <int W>
__device__ __forceinline__ void backward_key(bf16 *dqkv, const bf16 *qkv, const float *lse, const float *delta, const bf16 *dout, int n, int d,
                                             float scale) {
	constexpr int size = step_tokens * stride<W>;
	// A step's queries, their dout, and their lse and delta (floats).
	constexpr int buffer = 2 * size + 4 * step_tokens;
	DYNAMIC_SHARED(bf16, k);
	int keys = blockDim.x / 2, begin = blockIdx.x * keys, first = threadIdx.x / 32 * 16, t = threadIdx.x % 4;
	bf16 *v = k + keys * stride<W>, *buffers = v + keys * stride<W>;
	unsigned c = gridDim.y * d;
	const bf16 *from = qkv + position(3, n, d);
#pragma unroll 1
	for (int part = 0; part < 2; part++)
		copy_rows<W>(part ? v : k, from + (size_t)begin * 3 * c + (part + 1) * c, 3 * c, keys, n - begin, d);

	Left a[W / 16], b[W / 16]; // k and v
	float dk[W / 8][4], dv[W / 8][4];
	zero(dk);
	zero(dv);
#pragma unroll 1
	for (int step = -step_tokens; step < n; step += step_tokens) {
		int next = step + step_tokens;
		bool odd = step & step_tokens; // the two buffers take turns
		const bf16 *now = buffers + (odd ? buffer : 0);
		if (next < n) {
			bf16 *later = buffers + (odd ? 0 : buffer);
#pragma unroll 1
			for (int part = 0; part < 2; part++)
				copy_rows<W>(later + part * size, part ? dout + position(1, n, d) + (size_t)next * c : from + (size_t)next * 3 * c, part ? c : 3 * c,
				             step_tokens, n - next, d);
			float *rows = (float *)(later + 2 * size);
			for (int i = threadIdx.x; i < 2 * step_tokens; i += blockDim.x) {
				int row = next + i % step_tokens;
				if (row < n) copy_async<4>(rows + i, (i < step_tokens ? lse : delta) + tokens(n) + row);
				else rows[i] = 0.f;
			}
		}
		copy_commit();
		if (step < 0) continue;
		copy_wait<1>();
		__syncthreads();
		if (step == 0) {
			load_left<W>(a, k + first * stride<W>);
			load_left<W>(b, v + first * stride<W>);
		}

#pragma unroll 1
		for (int i = 0; i < min(step_tokens, n - step); i += 16) {
			const bf16 *q = now + i * stride<W>, *dy = q + size;
			const float *rows = (const float *)(now + 2 * size) + i + 2 * t;
			float s[2][4], dp[2][4];
			zero(s);
			zero(dp);
#pragma unroll
			for (int j = 0; j < W / 16; j++) {
				add_row_products<W>(s[0], s[1], a[j], q + 16 * j);
				add_row_products<W>(dp[0], dp[1], b[j], dy + 16 * j);
			}
#pragma unroll
			for (int j = 0; j < 2; j++) {
				float2 sums = *(const float2 *)(rows + 8 * j), means = *(const float2 *)(rows + 8 * j + step_tokens);
#pragma unroll
				for (int l = 0; l < 4; l++) {
					s[j][l] = exp2_fast(fmaf(s[j][l], scale * log2_e, -log2_e * (l % 2 ? sums.y : sums.x)));
					dp[j][l] = s[j][l] * (dp[j][l] - (l % 2 ? means.y : means.x)) * scale;
				}
			}
			Left p;
			as_left(p, s[0], s[1]);
			add_weighted_rows<W>(dv, p, dy);
			as_left(p, dp[0], dp[1]);
			add_weighted_rows<W>(dk, p, q);
		}
		__syncthreads(); // before the next step's copies overwrite these queries
	}
	bf16 *mine = k + first * stride<W>;
	put_result<W>(mine, dk, 1.f, 1.f);
	put_result<W>(mine + keys * stride<W>, dv, 1.f, 1.f);
	__syncwarp();
#pragma unroll 1
	for (int part = 0; part < 2; part++)
		store_rows<W>(dqkv + position(3, n, d) + (size_t)(begin + first) * 3 * c + (part + 1) * c, 3 * c, mine + part * keys * stride<W>,
		              n - begin - first, d);
}

} // namespace attention

#define ATTENTION_BACKWARD_SHORT(W)                                                                                                             \
	extern "C" __global__ void __launch_bounds__(2 * attention::short_tokens, 4)                                                                \
	    attention_backward_short_##W##_bf16(bf16 *dqkv, const bf16 *qkv, const float *lse, const bf16 *dout, int n, int d, float scale) {       \
		attention::backward_short<W>(dqkv, qkv, lse, dout, n, d, scale);                                                                        \
	}                                                                                                                                           \
	EMULATED(attention_backward_short_##W##_bf16)
#define ATTENTION_BACKWARD_LONG(W)                                                                                                              \
	extern "C" __global__ void __launch_bounds__(32 * attention::most_warps<W>, 2)                                                              \
	    attention_backward_query_##W##_bf16(bf16 *dqkv, float *delta, const bf16 *qkv, const bf16 *out, const float *lse, const bf16 *dout,     \
	                                        int n, int d, float scale) {                                                                        \
		attention::backward_query<W>(dqkv, delta, qkv, out, lse, dout, n, d, scale);                                                            \
	}                                                                                                                                           \
	EMULATED(attention_backward_query_##W##_bf16)                                                                                               \
	extern "C" __global__ void __launch_bounds__(32 * attention::most_warps<W>, 2)                                                              \
	    attention_backward_key_##W##_bf16(bf16 *dqkv, const bf16 *qkv, const float *lse, const float *delta, const bf16 *dout, int n, int d,    \
	                                      float scale) {                                                                                        \
		attention::backward_key<W>(dqkv, qkv, lse, delta, dout, n, d, scale);                                                                   \
	}                                                                                                                                           \
	EMULATED(attention_backward_key_##W##_bf16)

ATTENTION_BACKWARD_SHORT(64)
ATTENTION_BACKWARD_LONG(48)
ATTENTION_BACKWARD_LONG(64)
ATTENTION_BACKWARD_LONG(80)
ATTENTION_BACKWARD_LONG(96)
