// Kernels that try out the emulation, each with one thing that it must get
// right or find.
#include "../../kernels/ptx.cuh"

extern "C" __global__ void __launch_bounds__(256) scale(float *x, int n, float factor) {
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n) x[i] *= factor;
}
EMULATED(scale)

// The sum of each block's 256 values, through shuffles and shared memory.
extern "C" __global__ void __launch_bounds__(256) block_sum(float *sums, const float *x) {
	__shared__ float parts[8];
	float v = x[blockIdx.x * 256 + threadIdx.x];
	for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
	if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
	__syncthreads();
	if (threadIdx.x < 32) {
		v = threadIdx.x < 8 ? parts[threadIdx.x] : 0.f;
		for (int o = 4; o; o >>= 1) v += __shfl_down_sync(0xffffffffu, v, o);
		if (threadIdx.x == 0) sums[blockIdx.x] = v;
	}
}
EMULATED(block_sum)

// c (16x8, float32) = a (16xk, bf16) b (kx8, bf16), one warp.
extern "C" __global__ void __launch_bounds__(32) tile(float *c, const bf16 *a, const bf16 *b, int k) {
	DYNAMIC_SHARED(bf16, sa);
	bf16 *sb = sa + 16 * 16;
	int l = threadIdx.x;
	float d[4] = {0, 0, 0, 0};
	for (int i = 0; i < k; i += 16) {
		copy_async<16>(sa + l / 2 * 16 + l % 2 * 8, a + l / 2 * k + i + l % 2 * 8);
		if (l < 16) copy_async<16>(sb + l * 8, b + (i + l) * 8);
		copy_commit();
		copy_wait<0>();
		__syncthreads();
		uint32_t fa[4], fb[2];
		load_matrix_x4(fa, sa + l % 16 * 16 + l / 16 * 8);
		load_matrix_x2_t(fb, sb + l % 16 * 8);
		multiply_add(d, fa, fb[0], fb[1]);
		__syncthreads();
	}
	int r = l / 4, q = l % 4 * 2;
	c[r * 8 + q] = d[0];
	c[r * 8 + q + 1] = d[1];
	c[(r + 8) * 8 + q] = d[2];
	c[(r + 8) * 8 + q + 1] = d[3];
}
EMULATED(tile)

// The values of a block in the opposite order. Without the barrier it is
// wrong, which only one of the two orders shows.
extern "C" __global__ void __launch_bounds__(64) reverse(float *x, int with_barrier) {
	__shared__ float s[64];
	s[threadIdx.x] = x[threadIdx.x];
	if (with_barrier) __syncthreads();
	x[threadIdx.x] = s[63 - threadIdx.x];
}
EMULATED(reverse)

// Reads what cp.async brings, having waited for it or not.
extern "C" __global__ void __launch_bounds__(32) copied(float *y, const float *x, int wait) {
	DYNAMIC_SHARED(float, s);
	copy_async<4>(s + threadIdx.x, x + threadIdx.x, threadIdx.x < 20 ? 4 : 0);
	copy_commit();
	if (wait) copy_wait<0>();
	y[threadIdx.x] = s[threadIdx.x];
}
EMULATED(copied)

// A barrier that half of the lanes do not reach: they wait for the others.
extern "C" __global__ void __launch_bounds__(64) divergent(float *x) {
	if (threadIdx.x % 2)
		__syncthreads();
	else
		x[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);
}
EMULATED(divergent)

// bf16 to float and back, two at a time.
extern "C" __global__ void round_bf16(uint32_t *pairs, const float *x, int n) {
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n / 2) pairs[i] = pack(x[2 * i], x[2 * i + 1]);
}
EMULATED(round_bf16)

// One past the end of shared memory, for ASan.
extern "C" __global__ void beyond(float *x) {
	__shared__ float s[4];
	s[threadIdx.x] = x[threadIdx.x];
	x[threadIdx.x] = s[threadIdx.x];
}
EMULATED(beyond)
