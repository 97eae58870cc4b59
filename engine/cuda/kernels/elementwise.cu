// Kernels that compute each element from those at its own place:
// elementwise.go. A thread takes 8 neighbours.
#include "common.cuh"

// map computes y = f(element) for the 8 elements of this thread in their order,
// where element(i) is the i-th input there. Outputs may be inputs.
template <int INPUTS, class Y, class X, class F>
__device__ __forceinline__ void map(Y *y, const X *const (&x)[INPUTS], long long n, F f) {
	const long long first = first_element(8);
	if (first + 8 <= n) {
		Vector<X, 8> in[INPUTS];
#pragma unroll
		for (int k = 0; k < INPUTS; k++) in[k] = load<8>(x[k] + first);
		float out[8];
#pragma unroll
		for (int i = 0; i < 8; i++) out[i] = f([&](int k) { return in[k].at(i); });
		store(y + first, out);
		return;
	}
#pragma unroll 1
	for (long long i = first; i < n; i++) store_one(y + i, f([&](int k) { return to_float(x[k][i]); }));
}

// Place goes through the row and column of the elements of a thread in rows of a
// width. It divides once, because a division takes longer than all the rest.
struct Place {
	long long row;
	int column, width;
	__device__ __forceinline__ Place(long long first, int width) : width(width) {
		row = first >> 32 ? first / width : (unsigned)first / (unsigned)width;
		column = (int)(first - row * width);
	}
	// next returns the place and goes one element on.
	__device__ __forceinline__ Place next() {
		const Place here = *this;
		if (++column == width) column = 0, row++;
		return here;
	}
};

// Normal is the standard normal distribution at x. The CDF is that of Abramowitz
// and Stegun, 7.1.26, right to 8e-8: it takes a third of erff's instructions,
// which would take longer than the memory, and shares the exponential with the
// density.
struct Normal {
	float cdf, bell; // bell: exp(-x²/2)
	__device__ __forceinline__ Normal(float x) {
		bell = exp2_fast(-0.72134752f * x * x);
		const float t = __fdividef(1.f, fmaf(0.3275911f * 0.70710678f, fabsf(x), 1.f));
		float p = fmaf(1.061405429f, t, -1.453152027f);
		p = fmaf(p, t, 1.421413741f);
		p = fmaf(p, t, -0.284496736f);
		p = fmaf(p, t, 0.254829592f);
		const float tail = 0.5f * p * t * bell;
		cdf = x >= 0 ? 1.f - tail : tail;
	}
};

__device__ __forceinline__ float gelu(float x) { return x * Normal(x).cdf; }

__device__ __forceinline__ float gelu_slope(float x) {
	const Normal n(x);
	return fmaf(x * 0.39894228f, n.bell, n.cdf);
}

template <class T>
__device__ __forceinline__ void gelu_forward(T *y, const T *x, const float *__restrict__ bias, long long n, int width) {
	const T *in[] = {x};
	Place at(first_element(8), width);
	map(y, in, n, [&](auto e) { return gelu(e(0) + (bias ? bias[at.next().column] : 0.f)); });
}

template <class T>
__device__ __forceinline__ void gelu_backward(T *dx, const T *x, const float *__restrict__ bias, const T *dy, long long n,
                                              int width) {
	const T *in[] = {x, dy};
	Place at(first_element(8), width);
	map(dx, in, n, [&](auto e) { return e(1) * gelu_slope(e(0) + (bias ? bias[at.next().column] : 0.f)); });
}

template <class T>
__device__ __forceinline__ void add_bias(T *y, const T *x, const float *__restrict__ bias, long long n, int width) {
	const T *in[] = {x};
	Place at(first_element(8), width);
	map(y, in, n, [&](auto e) { return e(0) + bias[at.next().column]; });
}

template <class T> __device__ __forceinline__ void add(T *y, const T *a, const T *b, long long n) {
	const T *in[] = {a, b};
	map(y, in, n, [](auto e) { return e(0) + e(1); });
}

template <class T>
__device__ __forceinline__ void residual(T *y, const T *x, const T *f, const float *__restrict__ scale, long long n, int size) {
	const T *in[] = {x, f};
	Place at(first_element(8), size);
	map(y, in, n, [&](auto e) { return residual_sum(e(0), e(1), scale ? scale[at.next().row] : 1.f); });
}

template <class T>
__device__ __forceinline__ void scale_samples(T *y, const T *x, const float *__restrict__ scale, long long n, int size) {
	const T *in[] = {x};
	Place at(first_element(8), size);
	map(y, in, n, [&](auto e) { return e(0) * scale[at.next().row]; });
}

template <class T> __device__ __forceinline__ void accumulate(float *y, const T *x, long long n) {
	const long long first = first_element(8);
	if (first + 8 <= n) {
		const Vector<float, 8> old = load<8>(y + first);
		const Vector<T, 8> more = load<8>(x + first);
		float v[8];
#pragma unroll
		for (int i = 0; i < 8; i++) v[i] = old.at(i) + more.at(i);
		store(y + first, v);
		return;
	}
	for (long long i = first; i < n; i++) y[i] += to_float(x[i]);
}

template <class Y, class X> __device__ __forceinline__ void cast(Y *y, const X *x, long long n) {
	const X *in[] = {x};
	map(y, in, n, [](auto e) { return e(0); });
}

#define ELEMENTWISE(name, T)                                                                                          \
	extern "C" __global__ void __launch_bounds__(256)                                                                 \
	    gelu_##name(T *y, const T *x, const float *bias, long long n, int width) { gelu_forward(y, x, bias, n, width); } \
	EMULATED(gelu_##name)                                                                                             \
	extern "C" __global__ void __launch_bounds__(256)                                                                 \
	    gelu_backward_##name(T *dx, const T *x, const float *bias, const T *dy, long long n, int width) {             \
		gelu_backward(dx, x, bias, dy, n, width);                                                                     \
	}                                                                                                                 \
	EMULATED(gelu_backward_##name)                                                                                    \
	extern "C" __global__ void __launch_bounds__(256)                                                                 \
	    add_bias_##name(T *y, const T *x, const float *bias, long long n, int width) { add_bias(y, x, bias, n, width); } \
	EMULATED(add_bias_##name)                                                                                         \
	extern "C" __global__ void __launch_bounds__(256) add_##name(T *y, const T *a, const T *b, long long n) { add(y, a, b, n); } \
	EMULATED(add_##name)                                                                                              \
	extern "C" __global__ void __launch_bounds__(256)                                                                 \
	    residual_##name(T *y, const T *x, const T *f, const float *scale, long long n, int size) {                    \
		residual(y, x, f, scale, n, size);                                                                            \
	}                                                                                                                 \
	EMULATED(residual_##name)                                                                                         \
	extern "C" __global__ void __launch_bounds__(256)                                                                 \
	    scale_samples_##name(T *y, const T *x, const float *scale, long long n, int size) {                           \
		scale_samples(y, x, scale, n, size);                                                                          \
	}                                                                                                                 \
	EMULATED(scale_samples_##name)                                                                                    \
	extern "C" __global__ void __launch_bounds__(256) accumulate_##name(float *y, const T *x, long long n) { accumulate(y, x, n); } \
	EMULATED(accumulate_##name)

ELEMENTWISE(bf16, bf16)
ELEMENTWISE(f32, float)

extern "C" __global__ void __launch_bounds__(256) cast_from_f32(bf16 *y, const float *x, long long n) { cast(y, x, n); }
EMULATED(cast_from_f32)
extern "C" __global__ void __launch_bounds__(256) cast_from_bf16(float *y, const bf16 *x, long long n) { cast(y, x, n); }
EMULATED(cast_from_bf16)
