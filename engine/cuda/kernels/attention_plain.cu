// Attention and its gradient in float32, for checking: one warp for each query,
// and in the gradient for each key. Grids are (tokens/4, heads, samples).
#include "attention.cuh"
#include "common.cuh"

namespace attention {

__device__ __forceinline__ float dot(const float *a, const float *b, int d) {
	float sum = 0.f;
	for (int i = 0; i < d; i++) sum = fmaf(a[i], b[i], sum);
	return sum;
}

// weighted_sum is the sum of the n rows of x, `apart` from each other, at
// element l, weighted by w.
__device__ __forceinline__ float weighted_sum(const float *w, const float *x, int n, size_t apart, int l) {
	float sum = 0.f;
	for (int i = 0; i < n; i++) sum = fmaf(w[i], x[i * apart + l], sum);
	return sum;
}

// scale is 1/sqrt(d).
__device__ __forceinline__ void plain(float *out, float *lse, const float *qkv, int n, int d, float scale) {
	DYNAMIC_SHARED(float, shared);
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, i = blockIdx.x * 4 + warp;
	if (i >= n) return;
	size_t c = gridDim.y * d;
	const float *q = qkv + position(3, n, d) + i * 3 * c, *k = qkv + position(3, n, d) + c, *v = k + c;
	float *p = shared + warp * n, top = -INFINITY, sum = 0.f;
	for (int j = lane; j < n; j += 32) {
		p[j] = dot(q, k + j * 3 * c, d) * scale;
		top = fmaxf(top, p[j]);
	}
	top = warp_max(top);
	for (int j = lane; j < n; j += 32) {
		p[j] = expf(p[j] - top);
		sum += p[j];
	}
	sum = group_sum<32>(sum);
	__syncwarp();
	for (int l = lane; l < d; l += 32) out[position(1, n, d) + i * c + l] = weighted_sum(p, v, n, 3 * c, l) / sum;
	if (lse && lane == 0) lse[tokens(n) + i] = top + logf(sum);
}

// dq of a query, and delta, the sum of p dp.
__device__ __forceinline__ void plain_query(float *dqkv, float *delta, const float *qkv, const float *lse, const float *dout, int n, int d, float scale) {
	DYNAMIC_SHARED(float, shared);
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, i = blockIdx.x * 4 + warp;
	if (i >= n) return;
	size_t c = gridDim.y * d, at = position(3, n, d) + i * 3 * c;
	const float *q = qkv + at, *k = qkv + position(3, n, d) + c, *v = k + c, *dy = dout + position(1, n, d) + i * c;
	float *p = shared + 2 * warp * n, *ds = p + n, sum = 0.f;
	for (int j = lane; j < n; j += 32) {
		p[j] = expf(dot(q, k + j * 3 * c, d) * scale - lse[tokens(n) + i]);
		ds[j] = dot(dy, v + j * 3 * c, d);
		sum += p[j] * ds[j];
	}
	sum = group_sum<32>(sum);
	for (int j = lane; j < n; j += 32) ds[j] = p[j] * (ds[j] - sum) * scale;
	__syncwarp();
	for (int l = lane; l < d; l += 32) dqkv[at + l] = weighted_sum(ds, k, n, 3 * c, l);
	if (lane == 0) delta[tokens(n) + i] = sum;
}

// dk and dv of a key.
__device__ __forceinline__ void plain_key(float *dqkv, const float *qkv, const float *lse, const float *delta, const float *dout, int n, int d, float scale) {
	DYNAMIC_SHARED(float, shared);
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, j = blockIdx.x * 4 + warp;
	if (j >= n) return;
	size_t c = gridDim.y * d, at = position(3, n, d) + j * 3 * c + c;
	const float *q = qkv + position(3, n, d), *k = qkv + at, *v = k + c, *dy = dout + position(1, n, d);
	float *p = shared + 2 * warp * n, *ds = p + n;
	for (int i = lane; i < n; i += 32) {
		p[i] = expf(dot(q + i * 3 * c, k, d) * scale - lse[tokens(n) + i]);
		ds[i] = p[i] * (dot(dy + i * c, v, d) - delta[tokens(n) + i]) * scale;
	}
	__syncwarp();
	for (int l = lane; l < d; l += 32) {
		dqkv[at + l] = weighted_sum(ds, q, n, 3 * c, l);
		dqkv[at + c + l] = weighted_sum(p, dy, n, c, l);
	}
}

} // namespace attention

extern "C" __global__ void __launch_bounds__(128) attention_f32(float *out, float *lse, const float *qkv, int n, int d, float scale) {
	attention::plain(out, lse, qkv, n, d, scale);
}
EMULATED(attention_f32)
extern "C" __global__ void __launch_bounds__(128)
    attention_backward_query_f32(float *dqkv, float *delta, const float *qkv, const float *lse, const float *dout, int n, int d, float scale) {
	attention::plain_query(dqkv, delta, qkv, lse, dout, n, d, scale);
}
EMULATED(attention_backward_query_f32)
extern "C" __global__ void __launch_bounds__(128)
    attention_backward_key_f32(float *dqkv, const float *qkv, const float *lse, const float *delta, const float *dout, int n, int d, float scale) {
	attention::plain_key(dqkv, qkv, lse, delta, dout, n, d, scale);
}
EMULATED(attention_backward_key_f32)
