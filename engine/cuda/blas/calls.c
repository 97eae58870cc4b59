//go:build gpu

#define _GNU_SOURCE
#include "calls.h"
#include "enums.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static struct {
	void *lt_library, *library;

	int (*create)(handle *);
	int (*destroy)(handle);
	int (*set_stream)(handle, void *);
	int (*set_workspace)(handle, void *, size_t);
	int (*get_property)(int, int *);
	int (*gemm)(handle, int, int, int, int, int, const void *, const void *, int, int, long long, const void *, int, int, long long,
	            const void *, void *, int, int, long long, int, int, int);

	int (*lt_create)(handle *);
	int (*lt_destroy)(handle);
	int (*lt_matmul)(handle, void *, const void *, const void *, void *, const void *, void *, const void *, const void *, void *, void *,
	                 void *, const void *, void *, size_t, void *);
	int (*desc_create)(void **, int, int);
	int (*desc_set)(void *, int, const void *, size_t);
	int (*desc_destroy)(void *);
	int (*layout_create)(void **, int, uint64_t, uint64_t, int64_t);
	int (*layout_set)(void *, int, const void *, size_t);
	int (*layout_destroy)(void *);
	int (*preference_create)(void **);
	int (*preference_set)(void *, int, const void *, size_t);
	int (*preference_destroy)(void *);
	int (*heuristic)(handle, void *, void *, void *, void *, void *, void *, int, void *, int *);
	int (*check)(handle, void *, void *, void *, void *, void *, const void *, void *);
} f;

int blas_open(const char *lt, const char *blas, char *why, size_t size) {
	// cublasLt first: cuBLAS then takes this one, not whatever ld.so finds.
	void *l = dlopen(lt, RTLD_NOW | RTLD_LOCAL);
	if (!l) {
		snprintf(why, size, "%s", dlerror());
		return -1;
	}
	void *b = dlopen(blas, RTLD_NOW | RTLD_LOCAL);
	if (!b) {
		snprintf(why, size, "%s", dlerror());
		dlclose(l);
		return -1;
	}
	struct {
		void *library;
		const char *name;
		void *slot;
	} wanted[] = {
	    {b, "cublasCreate_v2", &f.create},
	    {b, "cublasDestroy_v2", &f.destroy},
	    {b, "cublasSetStream_v2", &f.set_stream},
	    {b, "cublasSetWorkspace_v2", &f.set_workspace},
	    {b, "cublasGetProperty", &f.get_property},
	    {b, "cublasGemmStridedBatchedEx", &f.gemm},
	    {l, "cublasLtCreate", &f.lt_create},
	    {l, "cublasLtDestroy", &f.lt_destroy},
	    {l, "cublasLtMatmul", &f.lt_matmul},
	    {l, "cublasLtMatmulDescCreate", &f.desc_create},
	    {l, "cublasLtMatmulDescSetAttribute", &f.desc_set},
	    {l, "cublasLtMatmulDescDestroy", &f.desc_destroy},
	    {l, "cublasLtMatrixLayoutCreate", &f.layout_create},
	    {l, "cublasLtMatrixLayoutSetAttribute", &f.layout_set},
	    {l, "cublasLtMatrixLayoutDestroy", &f.layout_destroy},
	    {l, "cublasLtMatmulPreferenceCreate", &f.preference_create},
	    {l, "cublasLtMatmulPreferenceSetAttribute", &f.preference_set},
	    {l, "cublasLtMatmulPreferenceDestroy", &f.preference_destroy},
	    {l, "cublasLtMatmulAlgoGetHeuristic", &f.heuristic},
	    {l, "cublasLtMatmulAlgoCheck", &f.check},
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		void *p = dlsym(wanted[i].library, wanted[i].name);
		if (!p) {
			snprintf(why, size, "%s lacks %s", wanted[i].library == l ? lt : blas, wanted[i].name);
			dlclose(b);
			dlclose(l);
			return -1;
		}
		memcpy(wanted[i].slot, &p, sizeof p);
	}
	f.library = b;
	f.lt_library = l;
	return 0;
}

void blas_path(char *path, size_t size) {
	Dl_info i;
	snprintf(path, size, "%s", f.create && dladdr(*(void **)&f.create, &i) && i.dli_fname ? i.dli_fname : "");
}

int blas_version(void) {
	int v[3] = {0, 0, 0};
	for (int i = 0; i < 3; i++)
		if (f.get_property(property_major + i, &v[i])) return 0;
	return v[0] * 10000 + v[1] * 100 + v[2];
}

int blas_create(handle *blas, uintptr_t stream, uintptr_t workspace, size_t bytes) {
	int rc = f.create(blas);
	if (rc) return rc;
	rc = f.set_stream(*blas, (void *)stream); // forgets the workspace, so this comes first
	if (!rc) rc = f.set_workspace(*blas, (void *)workspace, bytes);
	if (rc) f.destroy(*blas);
	return rc;
}
int blas_destroy(handle blas) { return f.destroy(blas); }
int lt_create(handle *lt) { return f.lt_create(lt); }
int lt_destroy(handle lt) { return f.lt_destroy(lt); }

static int layout(void **made, int type, int trans, int rows, int columns, int64_t ld, int batch, int64_t stride) {
	int rc = trans ? f.layout_create(made, type, columns, rows, ld) : f.layout_create(made, type, rows, columns, ld);
	if (rc || batch == 1) return rc;
	int32_t count = batch;
	rc = f.layout_set(*made, layout_batch, &count, sizeof count);
	return rc ? rc : f.layout_set(*made, layout_stride, &stride, sizeof stride);
}

int lt_describe(struct plan *p, size_t workspace) {
	const struct shape *s = &p->s;
	int rc;
#define TRY(call)                                                                                              \
	if ((rc = (call))) {                                                                                       \
		lt_plan_free(p);                                                                                       \
		return rc;                                                                                             \
	}
	TRY(f.desc_create(&p->desc, compute_float32, real_float32))
	int32_t ta = s->transa, tb = s->transb;
	TRY(f.desc_set(p->desc, desc_transa, &ta, sizeof ta))
	TRY(f.desc_set(p->desc, desc_transb, &tb, sizeof tb))
	uint32_t epilogue = s->epilogue;
	TRY(f.desc_set(p->desc, desc_epilogue, &epilogue, sizeof epilogue))
	// The heuristic looks at how the pointers are aligned, not where they lead.
	const void *aligned = (void *)(uintptr_t)alignment;
	if (s->bias >= 0) {
		int32_t type = s->bias;
		if (type != s->d) TRY(f.desc_set(p->desc, desc_bias_type, &type, sizeof type))
		TRY(f.desc_set(p->desc, desc_bias, &aligned, sizeof aligned))
	}
	if (s->has_aux) {
		int64_t ld = s->m; // its rows are dense
		TRY(f.desc_set(p->desc, desc_aux, &aligned, sizeof aligned))
		TRY(f.desc_set(p->desc, desc_aux_ld, &ld, sizeof ld))
	}
	TRY(layout(&p->a, s->a, s->transa, s->m, s->k, s->lda, s->batch, s->stridea))
	TRY(layout(&p->b, s->b, s->transb, s->k, s->n, s->ldb, s->batch, s->strideb))
	TRY(layout(&p->d, s->d, 0, s->m, s->n, s->ldd, s->batch, s->strided))
	TRY(f.preference_create(&p->preference))
	uint64_t bytes = workspace;
	TRY(f.preference_set(p->preference, preference_workspace, &bytes, sizeof bytes))
	uint32_t reduction = reduction_in_float32;
	TRY(f.preference_set(p->preference, preference_reduction, &reduction, sizeof reduction))
	int operands[] = {preference_alignment_a, preference_alignment_b, preference_alignment_c, preference_alignment_d};
	uint32_t multiple = alignment;
	for (int i = 0; i < 4; i++) TRY(f.preference_set(p->preference, operands[i], &multiple, sizeof multiple))
	return 0;
}

int lt_heuristic(handle lt, struct plan *p, size_t workspace, uint64_t *algorithms, int most, int *n) {
	struct found all[max_algorithms];
	int found = 0;
	*n = 0;
	int rc = f.heuristic(lt, p->desc, p->a, p->b, p->d, p->d, p->preference, most < max_algorithms ? most : max_algorithms, all, &found);
	if (rc) return rc;
	for (int i = 0; i < found; i++)
		if (all[i].state == 0 && all[i].workspace <= workspace) memcpy(algorithms + 8 * (*n)++, all[i].algorithm, sizeof all[i].algorithm);
	return *n ? 0 : status_not_supported;
}

int lt_check(handle lt, struct plan *p, size_t workspace) {
	struct found found = {0};
	int rc = f.check(lt, p->desc, p->a, p->b, p->d, p->d, p->algorithm, &found);
	if (rc) return rc;
	return found.state == 0 && found.workspace <= workspace ? 0 : status_not_supported;
}

void lt_plan_free(struct plan *p) {
	if (p->preference) f.preference_destroy(p->preference);
	if (p->d) f.layout_destroy(p->d);
	if (p->b) f.layout_destroy(p->b);
	if (p->a) f.layout_destroy(p->a);
	if (p->desc) f.desc_destroy(p->desc);
	p->preference = p->a = p->b = p->d = p->desc = NULL;
}

int lt_run(handle lt, struct plan *p, uintptr_t a, uintptr_t b, uintptr_t d, uintptr_t bias, uintptr_t aux, uintptr_t workspace,
           size_t bytes, uintptr_t stream) {
	int rc;
	if (p->s.bias >= 0 && (rc = f.desc_set(p->desc, desc_bias, &bias, sizeof bias))) return rc;
	if (p->s.has_aux && (rc = f.desc_set(p->desc, desc_aux, &aux, sizeof aux))) return rc;
	return f.lt_matmul(lt, p->desc, &p->s.alpha, (void *)a, p->a, (void *)b, p->b, &p->s.beta, (void *)d, p->d, (void *)d, p->d,
	                   p->algorithm, (void *)workspace, bytes, (void *)stream);
}

int gemm_run(handle blas, const struct shape *s, uintptr_t a, uintptr_t b, uintptr_t d) {
	return f.gemm(blas, s->transa, s->transb, s->m, s->n, s->k, &s->alpha, (void *)a, s->a, s->lda, s->stridea, (void *)b, s->b, s->ldb,
	              s->strideb, &s->beta, (void *)d, s->d, s->ldd, s->strided, s->batch, compute_float32, gemm_default);
}
