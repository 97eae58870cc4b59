//go:build gpu

package blas_test

import (
	"testing"

	"hatchery/engine/cuda/headers"
)

// TestHeader compares the numbers, the struct and the functions that are declared
// here with those of cuBLAS and cublasLt.
func TestHeader(t *testing.T) {
	headers.Each(t, func(t *testing.T, _ int, include string) {
		declarations, err := headers.Declarations("enums.h")
		if err != nil {
			t.Fatal(err)
		}
		calls, err := headers.Calls("calls.c")
		if err != nil {
			t.Fatal(err)
		}
		headers.Compare(t, include, `
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
`+declarations+calls+`
static_assert(sizeof(plan::algorithm) == sizeof(cublasLtMatmulAlgo_t), "an algorithm does not fit a plan");
`)
	})
}
