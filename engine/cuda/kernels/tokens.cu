// The class token and the position embedding: tokens.go. blockIdx.y counts
// samples; a thread takes N neighbouring channels of a token.
#include "common.cuh"

template <int N, class T>
__device__ __forceinline__ void tokens(T *__restrict__ y, const T *__restrict__ x, const float *__restrict__ cls,
                                       const float *__restrict__ pos, int samples, int patches, int channels) {
	const int c = (int)first_element(N), width = (patches + 1) * channels;
	if (c >= width) return;
	const Vector<float, N> p = load<N>(pos + c);
	for (int b = blockIdx.y; b < samples; b += gridDim.y) {
		float v[N];
		if (c < channels) {
			const Vector<float, N> token = load<N>(cls + c);
#pragma unroll
			for (int i = 0; i < N; i++) v[i] = token.at(i) + p.at(i);
		} else {
			const Vector<T, N> token = load<N>(x + (size_t)b * (width - channels) + c - channels);
#pragma unroll
			for (int i = 0; i < N; i++) v[i] = token.at(i) + p.at(i);
		}
		store(y + (size_t)b * width + c, v);
	}
}

template <class T>
__device__ __forceinline__ void class_token(T *__restrict__ y, const T *__restrict__ x, int samples, int tokens, int channels) {
	const long long i = first_element(1);
	if (i >= (long long)samples * channels) return;
	const long long b = i / channels;
	y[i] = x[b * tokens * channels + i - b * channels];
}

template <int N, class T>
__device__ __forceinline__ void class_token_backward(T *__restrict__ dx, const T *__restrict__ dy, int samples, int tokens,
                                                     int channels) {
	const int c = (int)first_element(N), width = tokens * channels;
	if (c >= width) return;
	for (int b = blockIdx.y; b < samples; b += gridDim.y) {
		Vector<T, N> v = {};
		if (c < channels) v = load<N>(dy + (size_t)b * channels + c);
		*(Vector<T, N> *)(dx + (size_t)b * width + c) = v;
	}
}

#define TOKENS(name, T, N)                                                                                               \
	extern "C" __global__ void __launch_bounds__(256)                                                                    \
	    tokens_x##N##_##name(T *y, const T *x, const float *cls, const float *pos, int samples, int patches, int channels) { \
		tokens<N>(y, x, cls, pos, samples, patches, channels);                                                           \
	}                                                                                                                    \
	EMULATED(tokens_x##N##_##name)                                                                                       \
	extern "C" __global__ void __launch_bounds__(256)                                                                    \
	    class_token_backward_x##N##_##name(T *dx, const T *dy, int samples, int tokens, int channels) {                  \
		class_token_backward<N>(dx, dy, samples, tokens, channels);                                                      \
	}                                                                                                                    \
	EMULATED(class_token_backward_x##N##_##name)

TOKENS(bf16, bf16, 4)
TOKENS(bf16, bf16, 1)
TOKENS(f32, float, 4)
TOKENS(f32, float, 1)

extern "C" __global__ void __launch_bounds__(128) class_token_bf16(bf16 *y, const bf16 *x, int samples, int tokens, int channels) {
	class_token(y, x, samples, tokens, channels);
}
EMULATED(class_token_bf16)
extern "C" __global__ void __launch_bounds__(128) class_token_f32(float *y, const float *x, int samples, int tokens, int channels) {
	class_token(y, x, samples, tokens, channels);
}
EMULATED(class_token_f32)
