// CUDA C++ on the CPU: declarations for kernel sources in place of nvcc's headers.
//
// Every thread of a block is a fiber; one block runs at a time, on one thread
// of the host. A fiber runs until it reaches a barrier or a warp-collective
// call. This finds wrong arithmetic, wrong indexing (with ASan), missing barriers
// (by running the fibers in another order), divergent barriers, and reads of
// asynchronous copies without waiting for them. It does not find races within code
// without a barrier, bank conflicts, or anything about speed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

#define CUDA_EMULATION 1

// Qualifiers. Shared memory is static because one block runs at a time, and
// so that ASan puts red zones around each array. Kernels have no variables in device
// memory (__device__), only the buffers that they are given.
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

struct dim3 {
	unsigned x, y, z;
	dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint3 { unsigned x, y, z; };

#define EMULATION_VECTORS(T, name, bytes)                                                                        \
	struct alignas(2 * bytes) name##2 { T x, y; };                                                               \
	struct name##3 { T x, y, z; };                                                                               \
	struct alignas(4 * bytes > 16 ? 16 : 4 * bytes) name##4 { T x, y, z, w; };                                   \
	inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                                   \
	inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                                           \
	inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATION_VECTORS(float, float, 4)
EMULATION_VECTORS(double, double, 8)
EMULATION_VECTORS(int, int, 4)
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
EMULATION_VECTORS(unsigned char, uchar, 1)
EMULATION_VECTORS(unsigned short, ushort, 2)
EMULATION_VECTORS(unsigned long long, ulonglong, 8)
#undef EMULATION_VECTORS

namespace emulation {

struct Rendezvous;

// A pending copy of cp.async.
struct Copy { void *dst; const void *src; int bytes, zeros, group; };

struct Fiber {
	void *sp;      // where it goes on
	dim3 tid;
	int warp, lane;
	bool done;
	std::vector<Copy> copies;
	int group;     // number of the group of copies that is being filled
	const char *waits; // at what, for the report of a deadlock
};

// A meeting of the lanes of one warp that passed the same mask. Values are stored
// twice, so that a lane may reach the next meeting before others have read.
struct Rendezvous {
	unsigned mask, arrived, generation;
	const char *what;
	unsigned visits[32];
	alignas(16) unsigned char slot[2][32][64];
};

struct Warp {
	unsigned exists, exited; // lanes
	std::vector<Rendezvous *> meetings;
};

struct Block {
	dim3 index, size, grid;
	unsigned char *dynamic; // shared memory
	std::vector<Fiber> fibers;
	std::vector<Warp> warps;
	int live, arrived, votes, result;
	unsigned generation;
	bool progress;
	const char *failure;
};

extern Block block;
extern Fiber *fiber;
extern bool late; // copies of cp.async happen when they are waited for, not at once

void yield();
void barrier(const char *what);
int vote(int predicate); // a barrier that counts predicates
void fail(const char *why);
Rendezvous *meet(unsigned mask, const char *what);
void await(Rendezvous *r, unsigned generation);

// exchange is a warp-collective call: every lane of mask deposits a value, and
// when all have, read may use the values of any of them.
template <class T, class F> auto exchange(unsigned mask, const char *what, const T &value, F read) {
	static_assert(sizeof(T) <= 64, "a lane's slot is too small");
	Rendezvous *r = meet(mask, what);
	unsigned visit = r->visits[fiber->lane]++;
	memcpy(r->slot[visit & 1][fiber->lane], &value, sizeof value);
	await(r, visit);
	return read([=](int lane) {
		T v;
		memcpy(&v, r->slot[visit & 1][lane & 31], sizeof v);
		return v;
	});
}

void copy_async(void *dst, const void *src, int bytes, int zeros);
void copy_commit();
void copy_wait(int groups); // until at most so many groups are under way

// Kernel describes a kernel to the fake driver.
struct Kernel {
	int parameters;
	const int *sizes; // bytes of each
	const char *(*run)(const unsigned grid[3], const unsigned block[3], size_t shared, void **args);
};

// launch runs a kernel. In the backward order it calls poison before each block.
const char *launch(dim3 grid, dim3 block, size_t shared, const std::function<void()> &body, void (*poison)());

} // namespace emulation

// The section of this library's uninitialised variables: the kernels' static shared
// memory.
extern "C" char __bss_start[] __attribute__((visibility("hidden")));
extern "C" char _end[] __attribute__((visibility("hidden")));

namespace emulation {

// poison fills static shared memory with NaN, so that a block does not see the data of
// the previous one.
__attribute__((no_sanitize("address"))) inline void poison() {
	for (char *p = __bss_start; p < _end; p++) *(volatile char *)p = (char)0xff;
}

template <class... A, size_t... I> void apply(void (*k)(A...), void **args, std::index_sequence<I...>) {
	k(*(typename std::decay<A>::type *)args[I]...);
}
template <class... A> const char *run(void (*k)(A...), const unsigned *g, const unsigned *b, size_t shared, void **args) {
	return launch(dim3(g[0], g[1], g[2]), dim3(b[0], b[1], b[2]), shared,
	              [=] { apply(k, args, std::index_sequence_for<A...>{}); }, poison);
}
template <class F> struct Signature;
template <class... A> struct Signature<void (*)(A...)> {
	static_assert(((sizeof(A) <= 8) && ...), "a kernel's argument lies in a slot of 8 bytes");
	static constexpr int parameters = sizeof...(A);
	static constexpr int sizes[] = {(int)sizeof(A)..., 0};
};

} // namespace emulation

// EMULATED(name) after a kernel lets the fake driver find it. The real build
// defines it as nothing.
#define EMULATED(name)                                                                                         \
	extern "C" __attribute__((visibility("default"))) const emulation::Kernel *emulated_##name() {             \
		using Signature = emulation::Signature<decltype(&::name)>;                                             \
		static constexpr emulation::Kernel description = {                                                     \
		    Signature::parameters, Signature::sizes,                                                           \
		    [](const unsigned *g, const unsigned *b, size_t s, void **a) {                                     \
			    return emulation::run(::name, g, b, s, a);                                                     \
		    }};                                                                                                \
		return &description;                                                                                   \
	}
// DYNAMIC_SHARED(T, name) is nvcc's extern __shared__ T name[].
#define DYNAMIC_SHARED(T, name) T *name = (T *)emulation::block.dynamic

#define threadIdx (emulation::fiber->tid)
#define blockIdx (emulation::block.index)
#define blockDim (emulation::block.size)
#define gridDim (emulation::block.grid)
#define warpSize 32

// Barriers and fences.
inline void __syncthreads() { emulation::barrier("__syncthreads"); }
inline int __syncthreads_count(int p) { return emulation::vote(p != 0); }
inline int __syncthreads_or(int p) { return emulation::vote(p != 0) != 0; }
inline int __syncthreads_and(int p) { return emulation::vote(p == 0) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
	emulation::exchange(mask, "__syncwarp", 0, [](auto) { return 0; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __trap() { emulation::fail("__trap"); }

// Warp shuffles and votes. A lane that would read past its segment of width
// lanes gets its own value, as on the device.
template <class T> T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
	int lane = emulation::fiber->lane;
	return emulation::exchange(mask, "__shfl_sync", v, [=](auto of) { return of((lane & ~(width - 1)) + (source & (width - 1))); });
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
	int lane = emulation::fiber->lane, source = lane ^ bits;
	if (source >= (lane & ~(width - 1)) + width) source = lane;
	return emulation::exchange(mask, "__shfl_xor_sync", v, [=](auto of) { return of(source); });
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
	int lane = emulation::fiber->lane;
	int source = (lane & (width - 1)) + (int)delta < width ? lane + (int)delta : lane;
	return emulation::exchange(mask, "__shfl_down_sync", v, [=](auto of) { return of(source); });
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
	int lane = emulation::fiber->lane;
	int source = (lane & (width - 1)) >= (int)delta ? lane - (int)delta : lane;
	return emulation::exchange(mask, "__shfl_up_sync", v, [=](auto of) { return of(source); });
}
inline unsigned __ballot_sync(unsigned mask, int p) {
	unsigned lanes = mask & emulation::block.warps[emulation::fiber->warp].exists;
	return emulation::exchange(mask, "__ballot_sync", p, [=](auto of) {
		unsigned r = 0;
		for (int i = 0; i < 32; i++)
			if (lanes >> i & 1 && of(i)) r |= 1u << i;
		return r;
	});
}
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }
template <class T, class F> T emulation_reduce(unsigned mask, T v, F op) {
	return emulation::exchange(mask, "__reduce_sync", v, [=](auto of) {
		T r{};
		bool first = true;
		for (int i = 0; i < 32; i++)
			if (mask >> i & 1) r = first ? of(i) : op(r, of(i)), first = false;
		return r;
	});
}
inline unsigned __reduce_add_sync(unsigned m, unsigned v) { return emulation_reduce(m, v, [](unsigned a, unsigned b) { return a + b; }); }
inline unsigned __reduce_max_sync(unsigned m, unsigned v) { return emulation_reduce(m, v, [](unsigned a, unsigned b) { return a > b ? a : b; }); }
inline unsigned __reduce_or_sync(unsigned m, unsigned v) { return emulation_reduce(m, v, [](unsigned a, unsigned b) { return a | b; }); }

// Atomics: one fiber runs at a time, so plain code is atomic.
template <class T, class U> T atomicAdd(T *p, U v) { T o = *p; *p = o + (T)v; return o; }
template <class T, class U> T atomicSub(T *p, U v) { T o = *p; *p = o - (T)v; return o; }
template <class T, class U> T atomicMax(T *p, U v) { T o = *p; if ((T)v > o) *p = (T)v; return o; }
template <class T, class U> T atomicMin(T *p, U v) { T o = *p; if ((T)v < o) *p = (T)v; return o; }
template <class T, class U> T atomicOr(T *p, U v) { T o = *p; *p = o | (T)v; return o; }
template <class T, class U> T atomicExch(T *p, U v) { T o = *p; *p = (T)v; return o; }
template <class T, class U, class V> T atomicCAS(T *p, U c, V v) { T o = *p; if (o == (T)c) *p = (T)v; return o; }
inline unsigned atomicInc(unsigned *p, unsigned limit) { unsigned o = *p; *p = o >= limit ? 0 : o + 1; return o; }

// Loads and stores with a cache hint.
template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> T __ldcg(const T *p) { return *p; }
template <class T> T __ldca(const T *p) { return *p; }
template <class T> void __stcs(T *p, T v) { *p = v; }
template <class T> void __stcg(T *p, T v) { *p = v; }
template <class T> void __stwt(T *p, T v) { *p = v; }

// Bits.
inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
inline float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
inline int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)((unsigned __int128)a * b >> 64); }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) { s &= 31; return s ? hi << s | lo >> (32 - s) : hi; }
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s) { s &= 31; return s ? lo >> s | hi << (32 - s) : lo; }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
	uint64_t v = (uint64_t)b << 32 | a;
	unsigned r = 0;
	for (int i = 0; i < 4; i++) r |= (unsigned)(v >> (s >> 4 * i & 7) * 8 & 0xff) << 8 * i;
	return r;
}

// Arithmetic. Functions that are approximations on the device are exact here.
using std::max;
using std::min;
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline unsigned min(unsigned a, int b) { return std::min(a, (unsigned)b); }
inline unsigned min(int a, unsigned b) { return std::min((unsigned)a, b); }
inline unsigned max(unsigned a, int b) { return std::max(a, (unsigned)b); }
inline unsigned max(int a, unsigned b) { return std::max((unsigned)a, b); }
inline float __frsqrt_rn(float x) { return (float)(1.0 / std::sqrt((double)x)); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float x) { return x > 0 ? x < 1 ? x : 1.0f : 0.0f; }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline void __sincosf(float x, float *s, float *c) { *s = sinf(x); *c = cosf(x); }
inline float normcdff(float x) { return (float)(0.5 * std::erfc(-(double)x * M_SQRT1_2)); }
inline int __float2int_rn(float x) { return (int)nearbyintf(x); }
inline int __float2int_rz(float x) { return (int)x; }
inline int __float2int_rd(float x) { return (int)floorf(x); }
inline unsigned __float2uint_rn(float x) { return (unsigned)nearbyintf(x); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }

// Names that newer C libraries have too.
namespace emulation {
inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
inline float sinpi(float x) { return (float)std::sin(M_PI * std::fmod((double)x, 2.0)); }
inline float cospi(float x) { return (float)std::cos(M_PI * std::fmod((double)x, 2.0)); }
inline void sincospi(float x, float *s, float *c) { *s = sinpi(x); *c = cospi(x); }
} // namespace emulation
#define rsqrtf(x) emulation::rsqrt(x)
#define sinpif(x) emulation::sinpi(x)
#define cospif(x) emulation::cospi(x)
#define sincospif(x, s, c) emulation::sincospi(x, s, c)
