// cuBLAS without its headers. The entry points used have kept one ABI from
// version 11 through 13; enumerations are passed as int.
#include <stddef.h>
#include <stdint.h>

typedef uintptr_t handle;

// blas_open opens a pair of libraries, which may be the same file, in place of
// those opened before. It returns 0, or -1 and why not, with nothing left open.
int blas_open(const char *lt, const char *blas, char *why, size_t size);

// blas_path is the file that was opened for cuBLAS.
void blas_path(char *path, size_t size);

int blas_version(void); // cublasGetProperty: major * 10000 + minor * 100 + patch

int blas_create(handle *blas, uintptr_t stream, uintptr_t workspace, size_t bytes);
int blas_destroy(handle blas);
int lt_create(handle *lt);
int lt_destroy(handle lt);

// shape is a multiplication as cuBLAS sees it, column-major: d [m, n] = op(a)
// [m, k] op(b) [k, n]. Types are cudaDataType, the epilogue is cublasLt's.
struct shape {
	int m, n, k, transa, transb;
	int a, b, d, bias;
	int64_t lda, ldb, ldd;
	int batch;
	int64_t stridea, strideb, strided;
	float alpha, beta;
	int epilogue, has_aux;
};

// plan is what cublasLt prepares once.
struct plan {
	struct shape s;
	void *desc, *a, *b, *d, *preference;
	uint64_t algorithm[8]; // a cublasLtMatmulAlgo_t, which may be kept in a file
};

enum {
	alignment = 256,     // bytes, of every operand
	max_algorithms = 32, // that the heuristic is asked for
};

// lt_describe fills in a plan of a shape but for its algorithm. The result is a
// cublasStatus; upon an error there is nothing to free.
int lt_describe(struct plan *p, size_t workspace);
void lt_plan_free(struct plan *p);

// lt_heuristic asks for algorithms that need at most so many bytes of workspace,
// the best guess first, 8 words each. The result is a cublasStatus: 15 if there
// are none.
int lt_heuristic(handle lt, struct plan *p, size_t workspace, uint64_t *algorithms, int most, int *n);

// lt_check says whether the plan's algorithm can be used; a cublasStatus.
int lt_check(handle lt, struct plan *p, size_t workspace);

int lt_run(handle lt, struct plan *p, uintptr_t a, uintptr_t b, uintptr_t d, uintptr_t bias, uintptr_t aux, uintptr_t workspace,
           size_t bytes, uintptr_t stream);
int gemm_run(handle blas, const struct shape *s, uintptr_t a, uintptr_t b, uintptr_t d);
