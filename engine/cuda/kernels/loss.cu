// Losses with their gradients, and scores: loss.go. A warp takes a sample of a
// classification, whose logits it reads again from the cache.
#include "mix.cuh"

// log_sum_exp is log Σ exp(x), NaN if x holds one, in all lanes.
__device__ __forceinline__ float log_sum_exp(const float *__restrict__ x, int classes) {
	const int lane = threadIdx.x % 32;
	float top = -INFINITY, sum = 0;
	for (int j = lane; j < classes; j += 32) top = fmaxf(top, x[j]);
	top = warp_max(top);
	for (int j = lane; j < classes; j += 32) sum += expf(x[j] - top);
	return top + logf(group_sum<32>(sum));
}

// Targets is a sample's distribution: a row of its own, or smoothed one-hot rows
// of two labels that are mixed.
struct Targets {
	const float *row;
	int label, partner;
	float own, other; // weight of each
	float on, off;    // of a smoothed one-hot row: at its label, and elsewhere
	__device__ __forceinline__ float at(int j) const {
		if (row) return row[j];
		return (j == label ? on : off) * own + (j == partner ? on : off) * other;
	}
};

template <class T>
__device__ __forceinline__ void cross_entropy(T *__restrict__ dlogits, float *__restrict__ losses, const float *__restrict__ logits,
                                              const float *__restrict__ rows, const int *__restrict__ labels,
                                              const Mix *__restrict__ mixes, int batch, int group, int first, int samples,
                                              int classes, float on, float off, float weight) {
	const int i = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
	if (i >= samples) return;
	const float *x = logits + (size_t)i * classes;
	Targets t = {rows ? rows + (size_t)i * classes : nullptr, -1, -1, 1.f, 0.f, on, off};
	bool counts = true;
	if (!rows) {
		t.label = labels[first + i];
		t.partner = labels[partner_of(first + i, batch, group)];
		if (mixes) {
			const Mix *mix = mixes + (first + i) / group;
			t.own = mix->lambda, t.other = mix->rest;
		}
		counts = t.label >= 0;
	}
	const float l = log_sum_exp(x, classes);
	float mass = 0, loss = 0;
	for (int j = lane; j < classes; j += 32) {
		const float p = counts ? t.at(j) : 0.f;
		mass += p;
		loss += p * (l - x[j]);
	}
	mass = group_sum<32>(mass);
	loss = group_sum<32>(loss);
	if (losses && lane == 0) losses[i] = counts ? loss : 0.f;
	if (!dlogits) return;
	for (int j = lane; j < classes; j += 32)
		store_one(dlogits + (size_t)i * classes + j, counts ? weight * (mass * expf(x[j] - l) - t.at(j)) : 0.f);
}

#define CROSS_ENTROPY(name, T)                                                                                            \
	extern "C" __global__ void __launch_bounds__(128)                                                                     \
	    cross_entropy_##name(T *dlogits, float *losses, const float *logits, const float *rows, const int *labels,        \
	                         const Mix *mixes, int batch, int group, int first, int samples, int classes, float on,       \
	                         float off, float weight) {                                                                   \
		cross_entropy(dlogits, losses, logits, rows, labels, mixes, batch, group, first, samples, classes, on, off,       \
		              weight);                                                                                            \
	}                                                                                                                     \
	EMULATED(cross_entropy_##name)
CROSS_ENTROPY(bf16, bf16)
CROSS_ENTROPY(f32, float)

// argmax is the index of the first largest element, -1 if there is a NaN, in
// all lanes.
__device__ __forceinline__ int argmax(const float *__restrict__ x, int n) {
	float best = -INFINITY;
	int at = n, nan = 0;
	for (int j = threadIdx.x % 32; j < n; j += 32) {
		const float v = x[j];
		nan |= v != v;
		if (at == n || v > best) best = v, at = j;
	}
#pragma unroll
	for (int o = 16; o > 0; o /= 2) {
		const float v = __shfl_xor_sync(0xffffffffu, best, o);
		const int j = __shfl_xor_sync(0xffffffffu, at, o);
		nan |= __shfl_xor_sync(0xffffffffu, nan, o);
		if (v > best || (v == best && j < at)) best = v, at = j;
	}
	return nan ? -1 : at;
}

extern "C" __global__ void __launch_bounds__(128)
    score(float *loss, float *correct, const float *logits, const float *rows, const int *labels, int samples, int classes) {
	const int i = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
	if (i >= samples) return;
	const float *x = logits + (size_t)i * classes;
	const float *t = rows ? rows + (size_t)i * classes : nullptr;
	const int label = rows ? argmax(t, classes) : labels[i];
	if (loss) {
		const float l = log_sum_exp(x, classes);
		float sum = 0;
		if (rows)
			for (int j = lane; j < classes; j += 32) sum += t[j] * (l - x[j]);
		else if (lane == 0 && label >= 0)
			sum = l - x[label];
		sum = group_sum<32>(sum);
		if (lane == 0) loss[i] = sum;
	}
	if (!correct) return;
	const int best = argmax(x, classes);
	if (lane == 0) correct[i] = best >= 0 && best == label;
}
EMULATED(score)

template <class T>
__device__ __forceinline__ void l1(T *dx, float *__restrict__ partial, const T *x, const T *y, long long n, float weight) {
	float total = 0;
	for (long long first = first_element(8); first < n; first += (long long)gridDim.x * blockDim.x * 8) {
		const bool whole = first + 8 <= n;
		Vector<T, 8> vx = {}, vy = {};
		if (whole) vx = load<8>(x + first), vy = load<8>(y + first);
		float d[8];
#pragma unroll
		for (int i = 0; i < 8; i++) {
			float diff = vx.at(i) - vy.at(i);
			if (!whole) diff = first + i < n ? to_float(x[first + i]) - to_float(y[first + i]) : 0.f;
			total += fabsf(diff);
			d[i] = diff > 0 ? weight : diff < 0 ? -weight : 0.f * diff; // NaN stays NaN
		}
		if (!dx) continue;
		if (whole) {
			store(dx + first, d);
			continue;
		}
#pragma unroll
		for (int i = 0; i < 8; i++)
			if (first + i < n) store_one(dx + first + i, d[i]);
	}
	if (!partial) return;
	total = block_sum(total);
	if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

extern "C" __global__ void __launch_bounds__(256) l1_bf16(bf16 *dx, float *partial, const bf16 *x, const bf16 *y, long long n, float weight) {
	l1(dx, partial, x, y, n, weight);
}
EMULATED(l1_bf16)
extern "C" __global__ void __launch_bounds__(256) l1_f32(float *dx, float *partial, const float *x, const float *y, long long n, float weight) {
	l1(dx, partial, x, y, n, weight);
}
EMULATED(l1_f32)

extern "C" __global__ void __launch_bounds__(1024) sum_vector(float *y, const float *x, int n, float weight, int accumulate) {
	float total = 0;
	for (int i = threadIdx.x; i < n; i += blockDim.x) total += x[i];
	total = block_sum(total) * weight;
	if (threadIdx.x == 0) *y = accumulate ? *y + total : total;
}
EMULATED(sum_vector)

extern "C" __global__ void sum_scalars(float *y, int n, int accumulate, const float *x0, const float *x1, const float *x2,
                                       const float *x3, const float *x4, const float *x5, const float *x6, const float *x7) {
	const float *x[] = {x0, x1, x2, x3, x4, x5, x6, x7};
	float total = accumulate ? *y : 0.f;
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (i < n) total += *x[i];
	*y = total;
}
EMULATED(sum_scalars)
