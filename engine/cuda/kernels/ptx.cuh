// Every instruction that the kernels write as inline PTX, each with a twin in
// plain C++ for the emulation on the CPU (engine/cuda/emulation). Layouts of
// fragments are those of the PTX ISA, section "Matrix multiply-accumulate".
#pragma once
#include <stdint.h>

#ifndef CUDA_EMULATION
// DYNAMIC_SHARED(T, name) declares the shared memory that a launch asks for.
#define DYNAMIC_SHARED(T, name)                                                                                \
	extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];                                    \
	T *name = (T *)dynamic_shared_memory
// EMULATED(name) after a kernel lets the emulation find it.
#define EMULATED(name)
#endif

// bf16 is a bfloat16 in memory: the upper half of a float32.
struct bf16 {
	uint16_t bits;
};

__device__ __forceinline__ float to_float(bf16 v) { return __uint_as_float((uint32_t)v.bits << 16); }
__device__ __forceinline__ float to_float(float v) { return v; }

// low and high are the two bf16 values of a 32-bit word, as floats.
__device__ __forceinline__ float low(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// pack rounds two floats to bf16, to nearest even, lo into the lower half.
// NaN becomes 0x7fff.
__device__ __forceinline__ uint32_t pack(float lo, float hi) {
#ifndef CUDA_EMULATION
	uint32_t r;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
	return r;
#else
	auto round = [](float f) -> uint32_t {
		uint32_t u = __float_as_uint(f);
		return f != f ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
	};
	return round(lo) | round(hi) << 16;
#endif
}

__device__ __forceinline__ bf16 to_bf16(float v) { return bf16{(uint16_t)pack(v, 0.f)}; }

// exp2_fast is 2^x to about 2 ulp; 0 for -inf.
__device__ __forceinline__ float exp2_fast(float x) {
#ifndef CUDA_EMULATION
	float r;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
	return r;
#else
	return exp2f(x);
#endif
}

// tanh_fast is tanh to about 2^-11.
__device__ __forceinline__ float tanh_fast(float x) {
#ifndef CUDA_EMULATION
	float r;
	asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(x));
	return r;
#else
	return tanhf(x);
#endif
}

// copy_async<N> begins to copy N = 4, 8 or 16 bytes from global to shared
// memory, both aligned to N. Of them only the first `bytes` are read; the rest
// becomes zero. The source must be a valid address even when bytes is 0.
template <int N> __device__ __forceinline__ void copy_async(void *shared, const void *global, int bytes = N) {
#ifndef CUDA_EMULATION
	unsigned s = (unsigned)__cvta_generic_to_shared(shared);
	if (N == 16)
		asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(s), "l"(global), "r"(bytes) : "memory");
	else
		asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(s), "l"(global), "n"(N), "r"(bytes) : "memory");
#else
	emulation::copy_async(shared, global, bytes, N - bytes);
#endif
}

// copy_commit closes a group of copies; copy_wait<N> waits until at most the
// last N groups of this thread are under way. Other threads see the copies
// after a barrier.
__device__ __forceinline__ void copy_commit() {
#ifndef CUDA_EMULATION
	asm volatile("cp.async.commit_group;\n" ::: "memory");
#else
	emulation::copy_commit();
#endif
}
template <int N> __device__ __forceinline__ void copy_wait() {
#ifndef CUDA_EMULATION
	asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
#else
	emulation::copy_wait(N);
#endif
}

#ifdef CUDA_EMULATION
// load_matrices gives each lane its two elements of each of n 8x8 matrices of
// 16-bit elements; lane 8i+r holds the address of row r of matrix i.
template <bool transposed, int n> inline void load_matrices(uint32_t *d, const void *row) {
	int lane = emulation::fiber->lane;
	if ((uintptr_t)row % 16 && lane < 8 * n) emulation::fail("ldmatrix of a row that is not aligned to 16 bytes");
	uint32_t mine[n] = {};
	emulation::exchange(0xffffffffu, transposed ? "ldmatrix.trans" : "ldmatrix", (uintptr_t)row, [&](auto of) {
		for (int i = 0; i < n; i++)
			for (int j = 0; j < 2; j++) {
				int r = transposed ? lane % 4 * 2 + j : lane / 4, c = transposed ? lane / 4 : lane % 4 * 2 + j;
				uint16_t v;
				memcpy(&v, (const uint16_t *)of(8 * i + r) + c, 2);
				mine[i] |= (uint32_t)v << 16 * j;
			}
		return 0;
	});
	__syncwarp(); // the rows of another lane may change once it goes on
	for (int i = 0; i < n; i++) d[i] = mine[i];
}
#endif

// load_matrix_x4, _x2: ldmatrix, and with _t the transposed matrices. row is an
// address in shared memory, aligned to 16 bytes: lane l gives row l%8 of matrix l/8.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&d)[4], const void *row) {
#ifndef CUDA_EMULATION
	unsigned s = (unsigned)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
	             : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(s) : "memory");
#else
	load_matrices<false, 4>(d, row);
#endif
}
__device__ __forceinline__ void load_matrix_x4_t(uint32_t (&d)[4], const void *row) {
#ifndef CUDA_EMULATION
	unsigned s = (unsigned)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
	             : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(s) : "memory");
#else
	load_matrices<true, 4>(d, row);
#endif
}
__device__ __forceinline__ void load_matrix_x2(uint32_t (&d)[2], const void *row) {
#ifndef CUDA_EMULATION
	unsigned s = (unsigned)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n" : "=r"(d[0]), "=r"(d[1]) : "r"(s) : "memory");
#else
	load_matrices<false, 2>(d, row);
#endif
}
__device__ __forceinline__ void load_matrix_x2_t(uint32_t (&d)[2], const void *row) {
#ifndef CUDA_EMULATION
	unsigned s = (unsigned)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n" : "=r"(d[0]), "=r"(d[1]) : "r"(s) : "memory");
#else
	load_matrices<true, 2>(d, row);
#endif
}

// multiply_add is mma.m16n8k16: d (16x8, float32) += a (16x16, row-major bf16)
// times b (16x8, column-major bf16). With g = lane/4 and t = lane%4, d holds
// rows g and g+8, columns 2t and 2t+1: (g,2t) (g,2t+1) (g+8,2t) (g+8,2t+1).
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifndef CUDA_EMULATION
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
	             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
	struct Fragments {
		uint32_t a[4], b[2];
	} mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
	emulation::exchange(0xffffffffu, "mma", mine, [&](auto of) {
		int lane = emulation::fiber->lane, g = lane / 4, t = lane % 4;
		// A row of a and a column of b each lie in four lanes.
		float rows[2][16], columns[2][16];
		for (int q = 0; q < 4; q++) {
			Fragments row = of(4 * g + q);
			for (int i = 0; i < 4; i++) {
				rows[i & 1][8 * (i >> 1) + 2 * q] = low(row.a[i]);
				rows[i & 1][8 * (i >> 1) + 2 * q + 1] = high(row.a[i]);
			}
			for (int j = 0; j < 2; j++) {
				Fragments column = of(4 * (2 * t + j) + q);
				for (int i = 0; i < 2; i++) {
					columns[j][8 * i + 2 * q] = low(column.b[i]);
					columns[j][8 * i + 2 * q + 1] = high(column.b[i]);
				}
			}
		}
		for (int k = 0; k < 16; k++)
#pragma GCC unroll 4
			for (int o = 0; o < 4; o++) d[o] += rows[o >> 1][k] * columns[o & 1][k];
		return 0;
	});
#endif
}
