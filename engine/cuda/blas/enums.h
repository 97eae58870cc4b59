// What cublasLt.h, cublas_api.h and library_types.h would say. Each number has
// NVIDIA's name for it behind it, by which a test compares it with the headers.
#include <stddef.h>
#include <stdint.h>

enum {
	status_success = 0,           // CUBLAS_STATUS_SUCCESS
	status_not_initialized = 1,   // CUBLAS_STATUS_NOT_INITIALIZED
	status_alloc_failed = 3,      // CUBLAS_STATUS_ALLOC_FAILED
	status_invalid_value = 7,     // CUBLAS_STATUS_INVALID_VALUE
	status_arch_mismatch = 8,     // CUBLAS_STATUS_ARCH_MISMATCH
	status_mapping_error = 11,    // CUBLAS_STATUS_MAPPING_ERROR
	status_execution_failed = 13, // CUBLAS_STATUS_EXECUTION_FAILED
	status_internal_error = 14,   // CUBLAS_STATUS_INTERNAL_ERROR
	status_not_supported = 15,    // CUBLAS_STATUS_NOT_SUPPORTED
	status_license_error = 16,    // CUBLAS_STATUS_LICENSE_ERROR

	property_major = 0, // MAJOR_VERSION
	property_minor = 1, // MINOR_VERSION
	property_patch = 2, // PATCH_LEVEL

	operation_none = 0,      // CUBLAS_OP_N
	operation_transpose = 1, // CUBLAS_OP_T

	real_float32 = 0,   // CUDA_R_32F
	real_bfloat16 = 14, // CUDA_R_16BF

	compute_float32 = 68, // CUBLAS_COMPUTE_32F, so no TF32

	gemm_default = -1, // CUBLAS_GEMM_DEFAULT

	desc_transa = 3,     // CUBLASLT_MATMUL_DESC_TRANSA
	desc_transb = 4,     // CUBLASLT_MATMUL_DESC_TRANSB
	desc_epilogue = 7,   // CUBLASLT_MATMUL_DESC_EPILOGUE
	desc_bias = 8,       // CUBLASLT_MATMUL_DESC_BIAS_POINTER
	desc_aux = 11,       // CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER
	desc_aux_ld = 12,    // CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD
	desc_bias_type = 26, // CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE

	layout_batch = 5,  // CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT
	layout_stride = 6, // CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET

	preference_workspace = 1,   // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
	preference_reduction = 3,   // CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK
	preference_alignment_a = 5, // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES
	preference_alignment_b = 6, // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES
	preference_alignment_c = 7, // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES
	preference_alignment_d = 8, // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES

	reduction_in_float32 = 2, // CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE

	epilogue_default = 1,         // CUBLASLT_EPILOGUE_DEFAULT
	epilogue_bias = 4,            // CUBLASLT_EPILOGUE_BIAS
	epilogue_gelu_bias = 36,      // CUBLASLT_EPILOGUE_GELU_BIAS
	epilogue_gelu_aux_bias = 164, // CUBLASLT_EPILOGUE_GELU_AUX_BIAS
	epilogue_dgelu = 192,         // CUBLASLT_EPILOGUE_DGELU
	epilogue_dgelu_bgrad = 208,   // CUBLASLT_EPILOGUE_DGELU_BGRAD
	epilogue_bgrada = 256,        // CUBLASLT_EPILOGUE_BGRADA
	epilogue_bgradb = 512,        // CUBLASLT_EPILOGUE_BGRADB
};

// found is what cublasLtMatmulAlgoGetHeuristic fills in.
struct found { // cublasLtMatmulHeuristicResult_t
	uint64_t algorithm[8]; // algo
	size_t workspace;      // workspaceSize
	int state;             // state
	float waves;           // wavesCount
	int reserved[4];       // reserved
};
