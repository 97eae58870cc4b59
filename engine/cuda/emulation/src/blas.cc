// A stand-in for cuBLAS and cublasLt: simple multiplication that accumulates in
// float32 and rounds when it stores, as on a card, with the epilogues that
// package blas uses. GELU is the tanh approximation, as in cublasLt.
//
// HATCHERY_EMULATION_EPILOGUES=none makes the heuristic find no kernel with an
// epilogue; HATCHERY_EMULATION_LT=none makes cublasLtCreate fail. The heuristic
// lists HATCHERY_EMULATION_ALGORITHMS algorithms (default 1), which add the products
// in different orders, like those of the real library. In HATCHERY_EMULATION_TIMES a product
// has the name "product/EPILOGUE/ALGORITHM/MxNxK", with package blas's name of the
// epilogue, the index of the algorithm, and the sizes of the row-major matrices.
#include "fake.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

enum { success = 0, not_initialized = 1, invalid_value = 7, execution_failed = 13, not_supported = 15 };
enum { real_float32 = 0, real_bf16 = 14 };

#define API extern "C" __attribute__((visibility("default"))) int

static bool is(const char *variable, const char *value) {
	const char *v = getenv(variable);
	return v && !strcmp(v, value);
}
static bool off(const char *variable) { return is(variable, "none"); }

static float load(const void *p, int type, int64_t i) {
	if (type == real_float32) return ((const float *)p)[i];
	uint32_t u = (uint32_t)((const uint16_t *)p)[i] << 16;
	float f;
	memcpy(&f, &u, 4);
	return f;
}
static void store(void *p, int type, int64_t i, float v) {
	if (type == real_float32) {
		((float *)p)[i] = v;
		return;
	}
	uint32_t u;
	memcpy(&u, &v, 4);
	((uint16_t *)p)[i] = v != v ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
static int64_t bytes(int type) { return type == real_float32 ? 4 : 2; }

static float gelu(float x) { return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x))); }
static float dgelu(float x) {
	float t = tanhf(0.7978845608f * (x + 0.044715f * x * x * x));
	return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.7978845608f * (1 + 3 * 0.044715f * x * x);
}

// A matrix in memory, column-major.
struct Matrix {
	int type;
	int64_t rows, columns, ld;
	int32_t batch = 1;
	int64_t stride = 0;

	int64_t span() const { return ((columns - 1) * ld + rows + (batch - 1) * stride) * bytes(type); }
};

// A multiplication: d = epilogue(alpha op(a) op(b) + beta d).
struct Product {
	Matrix a, b, d;
	int32_t transa = 0, transb = 0;
	float alpha, beta;
	uint32_t epilogue = 1;
	int32_t bias_type = -1;
	void *bias = nullptr, *aux = nullptr;
	int64_t aux_ld = 0;
	int algorithm = 0;

	int64_t k() const { return transa ? a.rows : a.columns; }
	std::string name() const;
};

std::string Product::name() const {
	const char *epilogues[] = {"none", "bias", "gelu_bias", "gelu_aux_bias", "dgelu", "dgelu_bias_grad", "sum_a", "sum_b"};
	uint32_t numbers[] = {1, 4, 32 | 4, 32 | 128 | 4, 64 | 128, 64 | 128 | 16, 512, 256};
	std::string text = "product/";
	for (int i = 0; i < 8; i++)
		if (epilogue == numbers[i]) text += epilogues[i];
	return text + "/" + std::to_string(algorithm) + "/" + std::to_string(d.columns) + "x" + std::to_string(d.rows) + "x" + std::to_string(k());
}

// unpack writes op(m) as rows of k floats: for a, one per row of the result; for b,
// one per column.
static std::vector<float> unpack(const Matrix &m, const char *p, bool rows_of_k) {
	int64_t n = rows_of_k ? m.columns : m.rows, k = rows_of_k ? m.rows : m.columns;
	std::vector<float> v(n * k);
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < k; j++) v[i * k + j] = load(p, m.type, rows_of_k ? i * m.ld + j : j * m.ld + i);
	return v;
}

typedef float Lanes __attribute__((vector_size(32)));

static float dot(const float *a, const float *b, int64_t n) {
	Lanes sum = {};
	int64_t i = 0;
	for (; i + 8 <= n; i += 8) {
		Lanes x, y;
		memcpy(&x, a + i, sizeof x);
		memcpy(&y, b + i, sizeof y);
		sum += x * y;
	}
	float s = 0;
	for (int l = 0; l < 8; l++) s += sum[l];
	for (; i < n; i++) s += a[i] * b[i];
	return s;
}

// dots is dot with an algorithm, which adds the products in a number of parts.
static float dots(const float *a, const float *b, int64_t n, int algorithm) {
	float s = 0;
	int64_t parts = algorithm + 1, each = (n + parts - 1) / parts;
	for (int64_t at = 0; at < n; at += each) s += dot(a + at, b + at, std::min(each, n - at));
	return s;
}

static const char *multiply(const Product &p, const char *a, const char *b, char *d) {
	int64_t m = p.d.rows, n = p.d.columns, k = p.k();
	for (int z = 0; z < p.d.batch; z++) {
		std::vector<float> x = unpack(p.a, a + z * p.a.stride * bytes(p.a.type), p.transa);
		std::vector<float> y = unpack(p.b, b + z * p.b.stride * bytes(p.b.type), !p.transb);
		char *out = d + z * p.d.stride * bytes(p.d.type);
		std::vector<double> sums(m);
		bool bias_in = p.epilogue & 4, gradient = p.epilogue & 16;
		for (int64_t j = 0; j < n; j++)
			for (int64_t i = 0; i < m; i++) {
				float v = p.alpha * dots(&x[i * k], &y[j * k], k, p.algorithm);
				if (p.beta != 0) v += p.beta * load(out, p.d.type, j * p.d.ld + i);
				if (bias_in) v += load(p.bias, p.bias_type, i);
				if (p.epilogue & 32) { // GELU
					if (p.epilogue & 128) store(p.aux, p.d.type, j * p.aux_ld + i, v);
					v = gelu(v);
				}
				if (p.epilogue & 64) v *= dgelu(load(p.aux, p.d.type, j * p.aux_ld + i));
				sums[i] += v;
				store(out, p.d.type, j * p.d.ld + i, v);
			}
		if (gradient)
			for (int64_t i = 0; i < m; i++) store(p.bias, p.bias_type, i, (float)sums[i]);
		if (p.epilogue & (256 | 512)) { // sums of op(a)'s rows, or op(b)'s columns
			const std::vector<float> &v = p.epilogue & 256 ? x : y;
			for (int64_t i = 0; i < (p.epilogue & 256 ? m : n); i++) {
				double s = 0;
				for (int64_t j = 0; j < k; j++) s += v[i * k + j];
				store(p.bias, p.bias_type, i, (float)s);
			}
		}
	}
	return nullptr;
}

// submit checks for errors that a card would report or suffer from, and enqueues.
static int submit(const Product &p, const void *a, const void *b, void *d, void *stream) {
	if (((uintptr_t)a | (uintptr_t)b | (uintptr_t)d | (uintptr_t)p.bias | (uintptr_t)p.aux) % 256) return not_supported;
	int64_t sums = p.epilogue & 512 ? p.d.columns : p.d.rows;
	if (!device_range(a, p.a.span()) || !device_range(b, p.b.span()) || !device_range(d, p.d.span()) ||
	    ((p.epilogue & (4 | 16 | 256 | 512)) && !device_range(p.bias, sums * bytes(p.bias_type))) ||
	    ((p.epilogue & 128) && !device_range(p.aux, p.d.columns * p.aux_ld * bytes(p.d.type))))
		return execution_failed;
	auto work = [=] { return multiply(p, (const char *)a, (const char *)b, (char *)d); };
	return enqueue(stream, p.name(), work) ? execution_failed : success;
}

struct Handle {
	void *stream, *workspace;
	size_t bytes;
};

API cublasCreate_v2(Handle **h) { return *h = new Handle{}, success; }
API cublasDestroy_v2(Handle *h) { return delete h, success; }
API cublasSetStream_v2(Handle *h, void *s) { return h->stream = s, h->workspace = nullptr, success; }
API cublasSetWorkspace_v2(Handle *h, void *p, size_t n) {
	if (!device_range(p, n) || (uintptr_t)p % 256) return invalid_value;
	return h->workspace = p, h->bytes = n, success;
}
API cublasGetProperty(int which, int *v) { return *v = which == 0 ? 12 : which == 1 ? 9 : 1, success; }
API cublasGemmStridedBatchedEx(Handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const void *a, int at, int lda,
                               long long sa, const void *b, int bt, int ldb, long long sb, const float *beta, void *d, int dt, int ldd,
                               long long sd, int count, int compute, int) {
	if (compute != 68 || !h->workspace) return not_supported;
	Product p;
	p.a = {at, ta ? k : m, ta ? m : k, lda, count, sa};
	p.b = {bt, tb ? n : k, tb ? k : n, ldb, count, sb};
	p.d = {dt, m, n, ldd, count, sd};
	p.transa = ta, p.transb = tb, p.alpha = *alpha, p.beta = *beta;
	return submit(p, a, b, d, h->stream);
}

API cublasLtCreate(void **h) { return off("HATCHERY_EMULATION_LT") ? not_initialized : (*h = new char, success); }
API cublasLtDestroy(void *h) { return delete (char *)h, success; }
API cublasLtMatmulDescCreate(Product **p, int compute, int scale) {
	if (compute != 68 || scale != real_float32) return not_supported;
	return *p = new Product(), success;
}
API cublasLtMatmulDescDestroy(Product *p) { return delete p, success; }
API cublasLtMatmulDescSetAttribute(Product *p, int attribute, const void *v, size_t n) {
	struct { int attribute; void *to; size_t size; } known[] = {
	    {3, &p->transa, 4}, {4, &p->transb, 4}, {7, &p->epilogue, 4}, {8, &p->bias, 8}, {11, &p->aux, 8}, {12, &p->aux_ld, 8}, {26, &p->bias_type, 4}};
	for (auto &k : known)
		if (k.attribute == attribute && k.size == n) return memcpy(k.to, v, n), success;
	return invalid_value;
}
API cublasLtMatrixLayoutCreate(Matrix **m, int type, uint64_t rows, uint64_t columns, int64_t ld) {
	if ((type != real_float32 && type != real_bf16) || ld < (int64_t)rows) return invalid_value;
	return *m = new Matrix{type, (int64_t)rows, (int64_t)columns, ld}, success;
}
API cublasLtMatrixLayoutDestroy(Matrix *m) { return delete m, success; }
API cublasLtMatrixLayoutSetAttribute(Matrix *m, int attribute, const void *v, size_t n) {
	if (attribute == 5 && n == 4) return memcpy(&m->batch, v, n), success;
	if (attribute == 6 && n == 8) return memcpy(&m->stride, v, n), success;
	return invalid_value;
}
API cublasLtMatmulPreferenceCreate(void **p) { return *p = new char, success; }
API cublasLtMatmulPreferenceDestroy(void *p) { return delete (char *)p, success; }
API cublasLtMatmulPreferenceSetAttribute(void *, int attribute, const void *, size_t n) {
	return (attribute == 1 && n == 8) || ((attribute == 3 || (attribute >= 5 && attribute <= 8)) && n == 4) ? success : invalid_value;
}

struct Found {
	uint64_t algorithm[8];
	size_t workspace;
	int state;
	float waves;
	int reserved[4];
};

// The multiplications that the library of a card supports, as far as is known.
static bool supported(const Product &p, const Matrix &a, const Matrix &b, const Matrix &d) {
	if (a.type != b.type || (a.type == real_float32 && d.type != real_float32)) return false;
	int64_t m = p.transa ? a.columns : a.rows, k = p.transa ? a.rows : a.columns;
	int64_t n = p.transb ? b.rows : b.columns;
	if (m != d.rows || n != d.columns || k != (p.transb ? b.columns : b.rows)) return false;
	if (p.epilogue == 1) return true;
	if (off("HATCHERY_EMULATION_EPILOGUES") || d.batch != 1) return false;
	if (p.epilogue != 192 && p.bias_type >= 0 && p.bias_type != d.type) return false;
	if (p.epilogue & 128 && p.aux_ld % 8) return false;
	switch (p.epilogue) {
	case 4: case 32 | 4: case 32 | 128 | 4: case 64 | 128: case 64 | 128 | 16: case 256: case 512: return true;
	}
	return false;
}
// algorithms returns the number of algorithms that the heuristic lists.
static int algorithms() {
	const char *n = getenv("HATCHERY_EMULATION_ALGORITHMS");
	return n && *n ? atoi(n) : 1;
}
static const uint64_t seal = 0x656d756c61746564; // of what is an algorithm at all
static int number(const void *algorithm) {
	const uint64_t *a = (const uint64_t *)algorithm;
	return a[7] == seal && a[0] < (uint64_t)algorithms() ? (int)a[0] : -1;
}
API cublasLtMatmulAlgoGetHeuristic(void *, Product *p, Matrix *a, Matrix *b, Matrix *, Matrix *d, void *, int n, Found *found, int *count) {
	*count = 0;
	if (!supported(*p, *a, *b, *d)) return not_supported;
	for (int i = 0; i < std::min(n, algorithms()); i++) {
		memset(&found[i], 0, sizeof found[i]);
		found[i].algorithm[0] = i;
		found[i].algorithm[7] = seal;
		found[i].waves = 1;
		(*count)++;
	}
	return success;
}
API cublasLtMatmulAlgoCheck(void *, Product *p, Matrix *a, Matrix *b, Matrix *, Matrix *d, const void *algorithm, Found *found) {
	if (number(algorithm) < 0) return invalid_value;
	if (!supported(*p, *a, *b, *d)) return not_supported;
	memset(found, 0, sizeof *found);
	memcpy(found->algorithm, algorithm, sizeof found->algorithm);
	return success;
}
API cublasLtMatmul(void *, Product *desc, const float *alpha, const void *a, Matrix *la, const void *b, Matrix *lb, const float *beta,
                   const void *c, Matrix *, void *d, Matrix *ld, const void *algorithm, void *workspace, size_t bytes, void *stream) {
	if (c != d || !algorithm || number(algorithm) < 0 || (bytes && !device_range(workspace, bytes))) return invalid_value;
	if (!supported(*desc, *la, *lb, *ld)) return not_supported;
	Product p = *desc;
	p.a = *la, p.b = *lb, p.d = *ld;
	p.alpha = *alpha, p.beta = *beta, p.algorithm = number(algorithm);
	if (p.bias_type < 0) p.bias_type = p.d.type;
	return submit(p, a, b, d, stream);
}
