// The optimizer's step over flat buffers of all parameters: optimizer.go. A
// thread takes 4 neighbouring elements, which lie in one chunk.
#include "common.cuh"

constexpr int chunk = 256; // elements; a tensor begins with a chunk

// State is Go's State, and behind it what optimizer_prepare leaves for the
// kernels that follow it.
struct State {
	long long steps, diverged;
	double norm;
	float clip;   // times the gradients
	float rate;   // the learning rate
	float first;  // 1/(1 - beta1^t): times m
	float step;   // rate * first
	float root;   // 1/sqrt(1 - beta2^t): times sqrt(v)
	float decay;  // 1 - rate * weight decay
	int go;       // 0: this step changes nothing
};

// Sum of squares of a block's elements, in float64 over groups of 4.
extern "C" __global__ void __launch_bounds__(256) squares(double *partial, const float *grad, long long n) {
	double total = 0;
#pragma unroll 4
	for (long long i = first_element(4); i < n; i += (long long)gridDim.x * blockDim.x * 4) {
		const Vector<float, 4> g = load<4>(grad + i);
		float sum = 0;
#pragma unroll
		for (int j = 0; j < 4; j++) sum += g.at(j) * g.at(j);
		total += sum;
	}
	total = block_sum(total);
	if (threadIdx.x == 0) partial[blockIdx.x] = total;
}
EMULATED(squares)

extern "C" __global__ void __launch_bounds__(256)
    optimizer_prepare(State *state, const double *partial, int blocks, const double *rate, const float *loss, double beta1,
                      double beta2, double weight_decay, double clip, double norm_eps) {
	double total = 0;
	if (partial)
		for (int i = threadIdx.x; i < blocks; i += blockDim.x) total += partial[i];
	const double norm = sqrt(block_sum(total));
	if (threadIdx.x > 0) return;
	State s = *state;
	s.go = 0;
	if (s.diverged == 0) {
		s.norm = norm;
		s.go = fabs(norm) < INFINITY && (!loss || fabsf(*loss) < INFINITY); // not with NaN
		if (!s.go) s.diverged = s.steps + 1;
	}
	if (s.go) {
		s.steps++;
		const double lr = *rate, coefficient = clip / (norm + norm_eps);
		s.clip = partial && coefficient < 1 ? (float)coefficient : 1.f;
		s.rate = (float)lr;
		const double first = 1 / (1 - pow(beta1, (double)s.steps));
		s.first = (float)first;
		s.step = (float)(lr * first);
		s.root = (float)(1 / sqrt(1 - pow(beta2, (double)s.steps)));
		s.decay = (float)(1 - lr * weight_decay);
	}
	*state = s;
}
EMULATED(optimizer_prepare)

// write stores new parameters, their bfloat16 copies and their average.
__device__ __forceinline__ void write(float *params, bf16 *copy, float *ema, long long i, const float (&p)[4], float ema_mix) {
	store(params + i, p);
	if (copy) store(copy + i, p);
	if (!ema) return;
	const Vector<float, 4> old = load<4>(ema + i);
	float e[4];
#pragma unroll
	for (int j = 0; j < 4; j++) e[j] = fmaf(ema_mix, p[j] - old.at(j), old.at(j));
	store(ema + i, e);
}

// moments updates m and v with a gradient.
__device__ __forceinline__ void moments(float &m, float &v, float g, float keep1, float mix1, float keep2, float mix2) {
	m = fmaf(g, mix1, m * keep1);
	v = fmaf(g * g, mix2, v * keep2);
}

extern "C" __global__ void __launch_bounds__(256)
    adamw(float *params, float *ms, float *vs, bf16 *copy, float *ema, const float *grad, const int *chunks, const State *state,
          long long n, float keep1, float mix1, float keep2, float mix2, float eps, float ema_mix) {
	const long long i = first_element(4);
	if (i >= n || !state->go) return;
	const Vector<float, 4> g = load<4>(grad + i), p = load<4>(params + i), m = load<4>(ms + i), v = load<4>(vs + i);
	const float clip = state->clip, step = state->step, root = state->root;
	const float decay = chunks[i / chunk] & 1 ? state->decay : 1.f;
	float np[4], nm[4], nv[4];
#pragma unroll
	for (int j = 0; j < 4; j++) {
		nm[j] = m.at(j), nv[j] = v.at(j);
		moments(nm[j], nv[j], g.at(j) * clip, keep1, mix1, keep2, mix2);
		np[j] = fmaf(p.at(j), decay, -(nm[j] * step) / fmaf(sqrtf(nv[j]), root, eps));
	}
	store(ms + i, nm);
	store(vs + i, nv);
	write(params, copy, ema, i, np, ema_mix);
}
EMULATED(adamw)

// lamb_direction is what a parameter changes by, but for the learning rate and
// the trust ratio.
__device__ __forceinline__ float lamb_direction(float p, float m, float v, const State &s, float eps, float decay) {
	return fmaf(decay, p, m * s.first / fmaf(sqrtf(v), s.root, eps));
}

// A block takes one chunk, and leaves the sums of its squared parameters and
// directions in norms.
extern "C" __global__ void __launch_bounds__(64)
    lamb_moments(float *ms, float *vs, float2 *norms, const float *params, const float *grad, const int *chunks, const State *state,
                 float keep1, float mix1, float keep2, float mix2, float eps, float weight_decay) {
	const State s = *state;
	if (!s.go) return;
	const long long i = first_element(4);
	const Vector<float, 4> g = load<4>(grad + i), p = load<4>(params + i), m = load<4>(ms + i), v = load<4>(vs + i);
	const float decay = chunks[blockIdx.x] & 1 ? weight_decay : 0.f;
	float nm[4], nv[4], weight = 0, direction = 0;
#pragma unroll
	for (int j = 0; j < 4; j++) {
		nm[j] = m.at(j), nv[j] = v.at(j);
		moments(nm[j], nv[j], g.at(j) * s.clip, keep1, mix1, keep2, mix2);
		const float d = lamb_direction(p.at(j), nm[j], nv[j], s, eps, decay);
		weight += p.at(j) * p.at(j);
		direction += d * d;
	}
	store(ms + i, nm);
	store(vs + i, nv);
	weight = block_sum(weight);
	direction = block_sum(direction);
	if (threadIdx.x == 0) norms[blockIdx.x] = make_float2(weight, direction);
}
EMULATED(lamb_moments)

// A block takes one tensor: its trust ratio, 1 without weight decay or where
// one of the norms is 0.
extern "C" __global__ void __launch_bounds__(256)
    lamb_trust(float *trust, const float2 *norms, const int *starts, const int *chunks, const State *state, float weight_decay) {
	if (!state->go) return;
	const int first = starts[blockIdx.x], end = starts[blockIdx.x + 1];
	double weight = 0, direction = 0;
	for (int c = first + threadIdx.x; c < end; c += blockDim.x) {
		weight += norms[c].x;
		direction += norms[c].y;
	}
	weight = sqrt(block_sum(weight));
	direction = sqrt(block_sum(direction));
	if (threadIdx.x > 0) return;
	const bool adapts = first < end && chunks[first] & 1 && weight_decay != 0 && weight > 0 && direction > 0;
	trust[blockIdx.x] = adapts ? (float)(weight / direction) : 1.f;
}
EMULATED(lamb_trust)

extern "C" __global__ void __launch_bounds__(256)
    lamb_update(float *params, bf16 *copy, float *ema, const float *ms, const float *vs, const float *trust, const int *chunks,
                const State *state, long long n, float eps, float weight_decay, float ema_mix) {
	const long long i = first_element(4);
	if (i >= n || !state->go) return;
	const State s = *state;
	const Vector<float, 4> p = load<4>(params + i), m = load<4>(ms + i), v = load<4>(vs + i);
	const int entry = chunks[i / chunk];
	const float decay = entry & 1 ? weight_decay : 0.f, step = s.rate * trust[entry / 2];
	float np[4];
#pragma unroll
	for (int j = 0; j < 4; j++) np[j] = fmaf(-step, lamb_direction(p.at(j), m.at(j), v.at(j), s, eps, decay), p.at(j));
	write(params, copy, ema, i, np, ema_mix);
}
EMULATED(lamb_update)
