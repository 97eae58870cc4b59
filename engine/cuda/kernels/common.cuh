// What several kernels share: vectors of elements as they are stored, and sums
// over a warp or block in a fixed order.
#pragma once
#include "ptx.cuh"

// Vector is N neighbouring elements of T as they lie in memory, loaded and
// stored 16 bytes at a time where it has as many.
template <class T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Vector {
	T element[N];
	__device__ __forceinline__ float at(int i) const { return element[i]; }
	__device__ __forceinline__ void set(const float (&v)[N]) {
#pragma unroll
		for (int i = 0; i < N; i++) element[i] = v[i];
	}
};

template <int N> struct alignas(2 * N < 16 ? 2 * N : 16) Vector<bf16, N> {
	uint32_t pair[N / 2];
	__device__ __forceinline__ float at(int i) const { return i % 2 ? high(pair[i / 2]) : low(pair[i / 2]); }
	__device__ __forceinline__ void set(const float (&v)[N]) {
#pragma unroll
		for (int i = 0; i < N; i += 2) pair[i / 2] = pack(v[i], v[i + 1]);
	}
};

template <> struct Vector<bf16, 1> {
	bf16 element;
	__device__ __forceinline__ float at(int) const { return to_float(element); }
	__device__ __forceinline__ void set(const float (&v)[1]) { element = to_bf16(v[0]); }
};

// load and store move the N elements at p, which is aligned to them (to 16
// bytes if they are more).
template <int N, class T> __device__ __forceinline__ Vector<T, N> load(const T *p) { return *(const Vector<T, N> *)p; }
template <int N, class T> __device__ __forceinline__ void store(T *p, const float (&v)[N]) {
	Vector<T, N> s;
	s.set(v);
	*(Vector<T, N> *)p = s;
}

__device__ __forceinline__ void store_one(bf16 *p, float v) { *p = to_bf16(v); }
__device__ __forceinline__ void store_one(float *p, float v) { *p = v; }

// stored is the value that v has once it is stored as a T.
template <class T> __device__ __forceinline__ float stored(float v);
template <> __device__ __forceinline__ float stored<float>(float v) { return v; }
template <> __device__ __forceinline__ float stored<bf16>(float v) { return to_float(to_bf16(v)); }

// group_sum is the sum of v over each group of `lanes` neighbouring lanes, in
// all of them. All lanes of the warp take part.
template <int lanes, class F> __device__ __forceinline__ F group_sum(F v) {
#pragma unroll
	for (int o = lanes / 2; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
	return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
	for (int o = 16; o > 0; o /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
	return v;
}

// block_sum is the sum of v over a block of whole warps, in all threads.
// Every thread of the block takes part.
template <class F> __device__ __forceinline__ F block_sum(F v) {
	__shared__ F warps[32];
	v = group_sum<32>(v);
	if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
	__syncthreads();
	v = threadIdx.x % 32 < blockDim.x / 32 ? warps[threadIdx.x % 32] : F(0);
	v = group_sum<32>(v);
	__syncthreads(); // before the next call writes
	return v;
}

// first_element is the first of the n elements of this thread, in a grid of one
// dimension.
__device__ __forceinline__ long long first_element(int n) {
	return ((long long)blockIdx.x * blockDim.x + threadIdx.x) * n;
}

// residual_sum is x + scale * f, the same wherever it is computed.
__device__ __forceinline__ float residual_sum(float x, float f, float scale) { return fmaf(scale, f, x); }
