// The input of the patch embedding, straight from pixels: patches.go.
// blockIdx.y counts images; a thread takes N neighbouring pixels of a patch's
// row.
#include "mix.cuh"

// normals gives numbers 4i to 4i+3 of the normal noise of a key:
// random.FillNormal.
__device__ __forceinline__ float4 normals(unsigned long long key, unsigned i) {
	uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32), c0 = i, c1 = 0, c2 = 0, c3 = 0;
#pragma unroll
	for (int round = 0; round < 10; round++) {
		const uint32_t h0 = __umulhi(c0, 0xd2511f53u), l0 = c0 * 0xd2511f53u;
		const uint32_t h1 = __umulhi(c2, 0xcd9e8d57u), l1 = c2 * 0xcd9e8d57u;
		c0 = h1 ^ c1 ^ k0, c1 = l1, c2 = h0 ^ c3 ^ k1, c3 = l0;
		k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
	}
	auto unit = [](uint32_t w) { return ((w >> 9) + 0.5f) * (1.f / (1 << 23)); };
	float sin0, cos0, sin1, cos1;
	const float r0 = sqrtf(-2.f * logf(unit(c0))), r1 = sqrtf(-2.f * logf(unit(c2)));
	sincospif(2.f * unit(c1), &sin0, &cos0);
	sincospif(2.f * unit(c3), &sin1, &cos1);
	return make_float4(r0 * cos0, r0 * sin0, r1 * cos1, r1 * sin1);
}

// Normaliser maps the pixels of each channel to mean 0 and deviation 1.
struct Normaliser {
	float scale0, shift0, scale1, shift1, scale2, shift2, scale3, shift3;
	__device__ __forceinline__ float2 of(int channel) const {
		return channel == 0   ? make_float2(scale0, shift0)
		       : channel == 1 ? make_float2(scale1, shift1)
		       : channel == 2 ? make_float2(scale2, shift2)
		                      : make_float2(scale3, shift3);
	}
};

// Run is where N neighbouring pixels are in an image.
struct Run {
	int channel, y, x;
	int at; // in the image's pixels
};

// run_of finds the pixels that become elements i, i+1, ... of an image's patches.
__device__ __forceinline__ Run run_of(int i, int channels, int size, int patch) {
	const int area = patch * patch, side = size / patch;
	const int p = i / (channels * area), rest = i - p * channels * area;
	const int channel = rest / area, in = rest - channel * area;
	const int row = in / patch, column = in - row * patch;
	const int py = p / side, px = p - py * side;
	Run r = {channel, py * patch + row, px * patch + column, 0};
	r.at = (channel * size + r.y) * size + r.x;
	return r;
}

template <int N> struct alignas(N) Pixels {
	unsigned char value[N];
};

// pixels gives the N pixels of an image at a run, normalised and erased.
template <int N>
__device__ __forceinline__ void pixels(float (&v)[N], const unsigned char *image, const Erase *erase, const Run &r, float2 norm) {
	const Pixels<N> raw = *(const Pixels<N> *)(image + r.at);
#pragma unroll
	for (int i = 0; i < N; i++) v[i] = fmaf(raw.value[i], norm.x, norm.y);
	if (!erase || erase->key == 0 || r.y < erase->y0 || r.y >= erase->y1 || r.x + N <= erase->x0 || r.x >= erase->x1) return;
	const float4 z = normals(erase->key, r.at / 4); // a run of 4 begins at a multiple of 4
	const float noise[4] = {z.x, z.y, z.z, z.w};
#pragma unroll
	for (int i = 0; i < N; i++) {
		if (r.x + i < erase->x0 || r.x + i >= erase->x1) continue;
		v[i] = N == 4 ? noise[i] : r.at % 4 == 0 ? z.x : r.at % 4 == 1 ? z.y : r.at % 4 == 2 ? z.z : z.w;
	}
}

template <int N, class T>
__device__ __forceinline__ void patches(T *__restrict__ y, const unsigned char *__restrict__ images, const Erase *__restrict__ erase,
                                        const Mix *__restrict__ mixes, int batch, int group, int first, int channels, int size,
                                        int patch, const Normaliser &norm) {
	const int i = (int)first_element(N), length = channels * size * size;
	if (i >= length) return;
	const int image = first + blockIdx.y, partner = partner_of(image, batch, group);
	const Run r = run_of(i, channels, size, patch);
	const float2 n = norm.of(r.channel);
	float v[N];
	pixels(v, images + (size_t)image * length, erase ? erase + image : nullptr, r, n);
	const Mix *mix = mixes ? mixes + image / group : nullptr;
	if (mix && mix->rest != 0.f && partner != image) {
		const Mix m = *mix;
		const bool in_rows = r.y >= m.y0 && r.y < m.y1;
		if (!m.cut || in_rows) {
			float other[N];
			pixels(other, images + (size_t)partner * length, erase ? erase + partner : nullptr, r, n);
#pragma unroll
			for (int j = 0; j < N; j++) {
				if (!m.cut) v[j] = m.lambda * v[j] + m.rest * other[j];
				else if (r.x + j >= m.x0 && r.x + j < m.x1) v[j] = other[j];
			}
		}
	}
	store(y + (size_t)blockIdx.y * length + i, v);
}

template <int N, class T>
__device__ __forceinline__ void patches_float(T *__restrict__ y, const float *__restrict__ images, int first, int channels, int size,
                                              int patch) {
	const int i = (int)first_element(N), length = channels * size * size;
	if (i >= length) return;
	const Vector<float, N> in = load<N>(images + (size_t)(first + blockIdx.y) * length + run_of(i, channels, size, patch).at);
	float v[N];
#pragma unroll
	for (int j = 0; j < N; j++) v[j] = in.at(j);
	store(y + (size_t)blockIdx.y * length + i, v);
}

#define PATCHES(name, T, N)                                                                                              \
	extern "C" __global__ void __launch_bounds__(256)                                                                    \
	    patches_x##N##_##name(T *y, const unsigned char *images, const Erase *erase, const Mix *mixes, int batch,          \
	                          int group, int first, int channels, int size, int patch, float scale0, float shift0,       \
	                          float scale1, float shift1, float scale2, float shift2, float scale3, float shift3) {      \
		const Normaliser norm = {scale0, shift0, scale1, shift1, scale2, shift2, scale3, shift3};                        \
		patches<N>(y, images, erase, mixes, batch, group, first, channels, size, patch, norm);                           \
	}                                                                                                                    \
	EMULATED(patches_x##N##_##name)                                                                                      \
	extern "C" __global__ void __launch_bounds__(256)                                                                    \
	    patches_float_x##N##_##name(T *y, const float *images, int batch, int first, int channels, int size, int patch) { \
		patches_float<N>(y, images, first, channels, size, patch);                                                       \
	}                                                                                                                    \
	EMULATED(patches_float_x##N##_##name)

PATCHES(bf16, bf16, 4)
PATCHES(bf16, bf16, 1)
PATCHES(f32, float, 4)
PATCHES(f32, float, 1)
