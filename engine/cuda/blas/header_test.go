//go:build gpu

package blas_test

import (
	"testing"

	"hatchery/engine/cuda/headers"
)

// TestHeader compares the numbers, the struct and the functions that are declared
// here with those of cuBLAS and cublasLt.
func TestHeader(t *testing.T) {
	headers.CompareLibrary(t, "enums.h", "calls.c", `
#include <cuComplex.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <library_types.h>
// To C++, cuBLAS shows overloads beside the functions that the library exports.
#undef __cplusplus
extern "C" {
#include <cublas_v2.h>
}
#define __cplusplus 201703L
#include <cublasLt.h>
#include "calls.h"
#include "enums.h"
`, `static_assert(sizeof(plan::algorithm) == sizeof(cublasLtMatmulAlgo_t), "an algorithm does not fit a plan");`)
}
