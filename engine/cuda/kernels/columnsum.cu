// Sums of the rows of a matrix: columnsum.go, and the token embedding's
// gradients, which are such sums: tokens.go. A block sums the columns of a tile
// over its rows; reduce_rows sums what the blocks have found.
#include "common.cuh"

constexpr int column_warps = 8;

// sum_columns calls element(row, column) for N columns at a time, adds what it
// returns over the rows of this block, and writes the sums to its row of partial
// [blocks, width], where that is not null.
template <int N, class F>
__device__ __forceinline__ void sum_columns(float *__restrict__ partial, int rows, int width, F element) {
	const int c = (blockIdx.x * 32 + threadIdx.x) * N;
	float total[N] = {};
	if (c < width) {
#pragma unroll 4
		for (int row = blockIdx.y * column_warps + threadIdx.y; row < rows; row += gridDim.y * column_warps) {
			const auto v = element(row, c);
#pragma unroll
			for (int i = 0; i < N; i++) total[i] += v.at(i);
		}
	}
	if (!partial) return;
	__shared__ float warps[column_warps][32 * N];
#pragma unroll
	for (int i = 0; i < N; i++) warps[threadIdx.y][threadIdx.x + 32 * i] = total[i];
	__syncthreads();
	if (threadIdx.y > 0 || c >= width) return;
#pragma unroll
	for (int i = 0; i < N; i++) {
		float sum = 0;
		for (int w = 0; w < column_warps; w++) sum += warps[w][threadIdx.x + 32 * i];
		total[i] = sum;
	}
	store(partial + (size_t)blockIdx.y * width + c, total);
}

template <int N, class T>
__device__ __forceinline__ void column_sum(float *partial, const T *__restrict__ x, int rows, int width) {
	sum_columns<N>(partial, rows, width, [=](int row, int c) { return load<N>(x + (size_t)row * width + c); });
}

// A row is a sample's dy [tokens, channels]; all but the first token are copied
// to dx on the way.
template <int N, class T>
__device__ __forceinline__ void tokens_backward(T *__restrict__ dx, float *partial, const T *__restrict__ dy, int samples,
                                                int width, int channels) {
	sum_columns<N>(partial, samples, width, [=](int row, int c) {
		const Vector<T, N> v = load<N>(dy + (size_t)row * width + c);
		if (dx && c >= channels) *(Vector<T, N> *)(dx + (size_t)row * (width - channels) + c - channels) = v;
		return v;
	});
}

#define COLUMN_SUMS(name, T, N)                                                                                         \
	extern "C" __global__ void __launch_bounds__(256)                                                                   \
	    column_sum_x##N##_##name(float *partial, const T *x, int rows, int width) { column_sum<N>(partial, x, rows, width); } \
	EMULATED(column_sum_x##N##_##name)                                                                                  \
	extern "C" __global__ void __launch_bounds__(256)                                                                   \
	    tokens_backward_x##N##_##name(T *dx, float *partial, const T *dy, int samples, int width, int channels) {       \
		tokens_backward<N>(dx, partial, dy, samples, width, channels);                                                  \
	}                                                                                                                   \
	EMULATED(tokens_backward_x##N##_##name)

COLUMN_SUMS(bf16, bf16, 4)
COLUMN_SUMS(bf16, bf16, 1)
COLUMN_SUMS(f32, float, 4)
COLUMN_SUMS(f32, float, 1)

// partial is [rows, outs, width]; blockIdx.y chooses the output, of n columns.
extern "C" __global__ void __launch_bounds__(1024)
    reduce_rows(float *out0, float *out1, const float *partial, int rows, int width, int n, int accumulate) {
	__shared__ float sums[32][33];
	const int c = blockIdx.x * 32 + threadIdx.x;
	float total = 0;
	if (c < n)
		for (int r = threadIdx.y; r < rows; r += 32) total += partial[((size_t)r * gridDim.y + blockIdx.y) * width + c];
	sums[threadIdx.y][threadIdx.x] = total;
	__syncthreads();
	// A warp takes over a column: lane l holds what thread row l has summed.
	total = group_sum<32>(sums[threadIdx.x][threadIdx.y]);
	const int column = blockIdx.x * 32 + threadIdx.y;
	if (threadIdx.x > 0 || column >= n) return;
	float *out = blockIdx.y ? out1 : out0;
	out[column] = accumulate ? out[column] + total : total;
}
EMULATED(reduce_rows)
