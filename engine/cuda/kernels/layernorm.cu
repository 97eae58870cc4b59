// LayerNorm with what surrounds it in a residual network: layernorm.go.
//
// A group of lanes holds a row in registers, a few vectors a lane, so that each
// row is read once: 8 lanes for the narrowest networks, so that no lane idles
// and four rows of a warp are in flight, a whole warp for wide ones. The plain
// variants take any width and read rows again from the cache.
#include "common.cuh"

template <class T, int LANES, int VECTORS, int N>
__device__ __forceinline__ void layer_norm(T *__restrict__ y, float *__restrict__ stats, T *sum, const T *x, const T *branch,
                                           const float *__restrict__ scale, const float *__restrict__ gamma,
                                           const float *__restrict__ beta, int rows, int width, int per_sample, float eps) {
	const int lane = threadIdx.x % LANES;
	const int step = gridDim.x * blockDim.x / LANES;
	// The loop is the same for a whole warp, which shuffles together: groups
	// behind the last row compute it again and write nothing.
	for (int first = (blockIdx.x * blockDim.x + threadIdx.x / 32 * 32) / LANES; first < rows; first += step) {
		const int mine = first + threadIdx.x % 32 / LANES;
		const bool valid = mine < rows;
		const int row = valid ? mine : rows - 1;
		const size_t at = (size_t)row * width;
		Vector<T, N> in[VECTORS], add[VECTORS];
#pragma unroll
		for (int k = 0; k < VECTORS; k++) {
			const int c = (k * LANES + lane) * N;
			if (c < width) {
				in[k] = load<N>(x + at + c);
				if (branch) add[k] = load<N>(branch + at + c);
			}
		}
		const float s = scale ? scale[row / per_sample] : 1.f;
		float v[VECTORS][N], total = 0;
#pragma unroll
		for (int k = 0; k < VECTORS; k++) {
			const int c = (k * LANES + lane) * N;
			if (c >= width) continue;
#pragma unroll
			for (int i = 0; i < N; i++) {
				v[k][i] = in[k].at(i);
				if (branch) v[k][i] = stored<T>(residual_sum(v[k][i], add[k].at(i), s));
				total += v[k][i];
			}
			if (branch && valid) store(sum + at + c, v[k]);
		}
		const float mean = group_sum<LANES>(total) / width;
		float squares = 0;
#pragma unroll
		for (int k = 0; k < VECTORS; k++) {
			if ((k * LANES + lane) * N >= width) continue;
#pragma unroll
			for (int i = 0; i < N; i++) squares += (v[k][i] - mean) * (v[k][i] - mean);
		}
		const float rstd = rsqrtf(group_sum<LANES>(squares) / width + eps);
		if (!valid) continue;
		if (stats && lane == 0) *(float2 *)(stats + 2 * (size_t)row) = make_float2(mean, rstd);
		if (!y) continue;
#pragma unroll
		for (int k = 0; k < VECTORS; k++) {
			const int c = (k * LANES + lane) * N;
			if (c >= width) continue;
			const Vector<float, N> g = load<N>(gamma + c), b = load<N>(beta + c);
#pragma unroll
			for (int i = 0; i < N; i++) v[k][i] = (v[k][i] - mean) * rstd * g.at(i) + b.at(i);
			store(y + at + c, v[k]);
		}
	}
}

// dgamma and dbeta: each lane sums its columns over its rows, then groups,
// warps and blocks are summed in their order; partial is [blocks, 2, width].
template <class T, int LANES, int VECTORS, int N>
__device__ __forceinline__ void layer_norm_backward(T *dx, T *__restrict__ dbranch, float *__restrict__ partial,
                                                    const T *__restrict__ x, const T *dy, const T *residual,
                                                    const float *__restrict__ stats, const float *__restrict__ gamma,
                                                    const float *__restrict__ scale, int rows, int width, int per_sample) {
	const int lane = threadIdx.x % LANES;
	const int step = gridDim.x * blockDim.x / LANES;
	float dgamma[VECTORS][N], dbeta[VECTORS][N];
#pragma unroll
	for (int k = 0; k < VECTORS; k++)
#pragma unroll
		for (int i = 0; i < N; i++) dgamma[k][i] = dbeta[k][i] = 0;
	for (int first = (blockIdx.x * blockDim.x + threadIdx.x / 32 * 32) / LANES; first < rows; first += step) {
		const int row = first + threadIdx.x % 32 / LANES;
		const bool valid = row < rows;
		const size_t at = (size_t)row * width;
		Vector<T, N> vx[VECTORS], vdy[VECTORS], skip[VECTORS];
#pragma unroll
		for (int k = 0; k < VECTORS; k++) {
			const int c = (k * LANES + lane) * N;
			if (valid && c < width) {
				vx[k] = load<N>(x + at + c);
				vdy[k] = load<N>(dy + at + c);
				if (residual) skip[k] = load<N>(residual + at + c);
			}
		}
		const float2 s = valid ? *(const float2 *)(stats + 2 * (size_t)row) : make_float2(0, 0);
		const float mean = s.x, rstd = s.y;
		float sum = 0, dot = 0;
#pragma unroll
		for (int k = 0; k < VECTORS; k++) {
			const int c = (k * LANES + lane) * N;
			if (!valid || c >= width) continue;
			const Vector<float, N> g = load<N>(gamma + c);
#pragma unroll
			for (int i = 0; i < N; i++) {
				const float h = (vx[k].at(i) - mean) * rstd, d = vdy[k].at(i), e = d * g.at(i);
				dgamma[k][i] += d * h;
				dbeta[k][i] += d;
				sum += e;
				dot += e * h;
			}
		}
		if (!dx) continue;
		sum = group_sum<LANES>(sum) / width;
		dot = group_sum<LANES>(dot) / width;
		if (!valid) continue;
		const float drop = dbranch ? scale[row / per_sample] : 0.f;
#pragma unroll
		for (int k = 0; k < VECTORS; k++) {
			const int c = (k * LANES + lane) * N;
			if (c >= width) continue;
			const Vector<float, N> g = load<N>(gamma + c);
			float d[N];
#pragma unroll
			for (int i = 0; i < N; i++) {
				const float h = (vx[k].at(i) - mean) * rstd;
				d[i] = (vdy[k].at(i) * g.at(i) - sum - h * dot) * rstd;
				if (residual) d[i] += skip[k].at(i);
				d[i] = stored<T>(d[i]);
			}
			store(dx + at + c, d);
			if (!dbranch) continue;
#pragma unroll
			for (int i = 0; i < N; i++) d[i] *= drop;
			store(dbranch + at + c, d);
		}
	}
	if (!partial) return;
	DYNAMIC_SHARED(float, warps); // [warps, 2, width]
	float *own = warps + threadIdx.x / 32 * 2 * width;
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
#pragma unroll
		for (int i = 0; i < N; i++)
#pragma unroll
			for (int o = LANES; o < 32; o *= 2) {
				dgamma[k][i] += __shfl_xor_sync(0xffffffffu, dgamma[k][i], o);
				dbeta[k][i] += __shfl_xor_sync(0xffffffffu, dbeta[k][i], o);
			}
		const int c = (k * LANES + lane) * N;
		if (threadIdx.x % 32 < LANES && c < width) {
			store(own + c, dgamma[k]);
			store(own + width + c, dbeta[k]);
		}
	}
	__syncthreads();
	for (int c = threadIdx.x; c < 2 * width; c += blockDim.x) {
		float total = 0;
		for (int w = 0; w < (int)blockDim.x / 32; w++) total += warps[w * 2 * width + c];
		partial[(size_t)blockIdx.x * 2 * width + c] = total;
	}
}

template <class T>
__device__ __forceinline__ void layer_norm_plain(T *__restrict__ y, float *__restrict__ stats, T *sum, const T *x, const T *branch,
                                                 const float *__restrict__ scale, const float *__restrict__ gamma,
                                                 const float *__restrict__ beta, int rows, int width, int per_sample, float eps) {
	for (int row = blockIdx.x; row < rows; row += gridDim.x) {
		const size_t at = (size_t)row * width;
		const T *in = branch ? sum : x;
		float total = 0;
		for (int c = threadIdx.x; c < width; c += blockDim.x) {
			float v = to_float(x[at + c]);
			if (branch) {
				v = stored<T>(residual_sum(v, to_float(branch[at + c]), scale ? scale[row / per_sample] : 1.f));
				store_one(sum + at + c, v);
			}
			total += v;
		}
		const float mean = block_sum(total) / width;
		float squares = 0;
		for (int c = threadIdx.x; c < width; c += blockDim.x) {
			const float d = to_float(in[at + c]) - mean;
			squares += d * d;
		}
		const float rstd = rsqrtf(block_sum(squares) / width + eps);
		if (stats && threadIdx.x == 0) *(float2 *)(stats + 2 * (size_t)row) = make_float2(mean, rstd);
		if (!y) continue;
		for (int c = threadIdx.x; c < width; c += blockDim.x)
			store_one(y + at + c, (to_float(in[at + c]) - mean) * rstd * gamma[c] + beta[c]);
	}
}

template <class T>
__device__ __forceinline__ void layer_norm_backward_plain(T *dx, T *__restrict__ dbranch, float *__restrict__ partial,
                                                          const T *__restrict__ x, const T *dy, const T *residual,
                                                          const float *__restrict__ stats, const float *__restrict__ gamma,
                                                          const float *__restrict__ scale, int rows, int width, int per_sample) {
	// A thread's columns are its alone.
	float *own = partial ? partial + (size_t)blockIdx.x * 2 * width : nullptr;
	for (int row = blockIdx.x; row < rows; row += gridDim.x) {
		const size_t at = (size_t)row * width;
		const float mean = stats[2 * (size_t)row], rstd = stats[2 * (size_t)row + 1];
		float sum = 0, dot = 0;
		for (int c = threadIdx.x; c < width; c += blockDim.x) {
			const float h = (to_float(x[at + c]) - mean) * rstd, d = to_float(dy[at + c]);
			sum += d * gamma[c];
			dot += d * gamma[c] * h;
			if (own) {
				const bool begun = row != (int)blockIdx.x;
				own[c] = (begun ? own[c] : 0.f) + d * h;
				own[width + c] = (begun ? own[width + c] : 0.f) + d;
			}
		}
		if (!dx) continue;
		sum = block_sum(sum) / width;
		dot = block_sum(dot) / width;
		for (int c = threadIdx.x; c < width; c += blockDim.x) {
			const float h = (to_float(x[at + c]) - mean) * rstd;
			float d = (to_float(dy[at + c]) * gamma[c] - sum - h * dot) * rstd;
			if (residual) d += to_float(residual[at + c]);
			d = stored<T>(d);
			store_one(dx + at + c, d);
			if (dbranch) store_one(dbranch + at + c, scale[row / per_sample] * d);
		}
	}
}

#define LAYER_NORM(name, T, ...)                                                                                   \
	extern "C" __global__ void __launch_bounds__(128)                                                              \
	    layer_norm_##name(T *y, float *stats, T *sum, const T *x, const T *branch, const float *scale,             \
	                      const float *gamma, const float *beta, int rows, int width, int per_sample, float eps) { \
		__VA_ARGS__(y, stats, sum, x, branch, scale, gamma, beta, rows, width, per_sample, eps);       \
	}                                                                                                              \
	EMULATED(layer_norm_##name)
#define LAYER_NORM_BACKWARD(name, threads, resident, T, ...)                                                                              \
	extern "C" __global__ void __launch_bounds__(threads, resident)                                                    \
	    layer_norm_backward_##name(T *dx, T *dbranch, float *partial, const T *x, const T *dy, const T *residual,      \
	                               const float *stats, const float *gamma, const float *scale, int rows, int width,    \
	                               int per_sample) {                                                                   \
		__VA_ARGS__(dx, dbranch, partial, x, dy, residual, stats, gamma, scale, rows, width, per_sample); \
	}                                                                                                                  \
	EMULATED(layer_norm_backward_##name)
#define LAYER_NORMS(lanes, vectors, n, threads, resident, name, T)                                   \
	LAYER_NORM(lanes##x##vectors##x##n##_##name, T, layer_norm<T, lanes, vectors, n>)                \
	LAYER_NORM_BACKWARD(lanes##x##vectors##x##n##_##name, threads, resident, T, layer_norm_backward<T, lanes, vectors, n>)

// The instances that layerNormVariant chooses from, with the threads of a block
// of the backward kernel and how many a multiprocessor must hold, and the
// registers of forward and backward (sm_90, nvcc 11.8; none spills). Those of
// float32 are for checking: there are as many as it takes to test both ways of
// sharing a warp.
LAYER_NORMS(8, 3, 8, 256, 2, bf16, bf16)  // to width 192; 72 and 126 registers
LAYER_NORMS(32, 3, 8, 256, 2, bf16, bf16) // to 768; 78 and 125
LAYER_NORMS(32, 5, 8, 128, 3, bf16, bf16) // to 1280; 119 and 168
LAYER_NORMS(32, 5, 4, 256, 2, bf16, bf16) // to 640, where 8 does not divide the width; 72 and 97
LAYER_NORMS(8, 3, 8, 256, 1, f32, float)
LAYER_NORMS(32, 5, 4, 256, 1, f32, float)
LAYER_NORM(plain_bf16, bf16, layer_norm_plain<bf16>)
LAYER_NORM(plain_f32, float, layer_norm_plain<float>)
LAYER_NORM_BACKWARD(plain_bf16, 128, 8, bf16, layer_norm_backward_plain<bf16>)
LAYER_NORM_BACKWARD(plain_f32, 128, 8, float, layer_norm_backward_plain<float>)
