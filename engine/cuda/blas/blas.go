//go:build gpu

package blas

/*
#cgo noescape lt_run
#cgo nocallback lt_run
#cgo noescape gemm_run
#cgo nocallback gemm_run
#include <stdlib.h>
#include "calls.h"
#include "enums.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
)

// ErrUnsupported is what Plan answers when the library has no kernel for a
// multiplication with its epilogue: do it without, and the rest in kernels of
// our own.
var ErrUnsupported = errors.New("cublasLt has no kernel for it")

// Status is a cublasStatus_t.
type Status int

func (s Status) Error() string {
	names := map[Status]string{
		C.status_not_initialized:  "NOT_INITIALIZED",
		C.status_alloc_failed:     "ALLOC_FAILED",
		C.status_invalid_value:    "INVALID_VALUE",
		C.status_arch_mismatch:    "ARCH_MISMATCH",
		C.status_mapping_error:    "MAPPING_ERROR",
		C.status_execution_failed: "EXECUTION_FAILED",
		C.status_internal_error:   "INTERNAL_ERROR",
		C.status_not_supported:    "NOT_SUPPORTED",
		C.status_license_error:    "LICENSE_ERROR",
	}
	name, ok := names[s]
	if !ok {
		return fmt.Sprintf("cuBLAS error %d", int(s))
	}
	text := fmt.Sprintf("CUBLAS_STATUS_%s (%d)", name, int(s))
	switch s {
	case C.status_not_initialized, C.status_arch_mismatch:
		text += "; this cuBLAS may not suit the driver or the card: " + Env + " names another"
	case C.status_alloc_failed:
		text += "; the card's memory is full"
	}
	return text
}

func check(call string, result C.int) error {
	if result == C.status_success {
		return nil
	}
	return fmt.Errorf("%s: %w", call, Status(result))
}

// WorkspaceBytes is how much device memory a Handle takes for its workspace:
// what NVIDIA recommends for Hopper.
const WorkspaceBytes = 32 << 20

// Handle multiplies in one stream, with a workspace of its own, so that results
// do not depend on what other streams do.
type Handle struct {
	context   *driver.Context
	stream    *driver.Stream
	workspace driver.Ptr
	blas, lt  C.handle // lt is 0 where cublasLt does not work
	plans     []*Plan
}

// New makes a handle for a stream. It allocates: not during a capture. Destroy
// gives everything back.
func New(c *driver.Context, s *driver.Stream) (*Handle, error) {
	if err := Load(); err != nil {
		return nil, err
	}
	h := &Handle{context: c, stream: s}
	var err error
	if h.workspace, err = c.Alloc(WorkspaceBytes); err != nil {
		return nil, fmt.Errorf("cuBLAS's workspace: %w", err)
	}
	if rc := C.blas_create(&h.blas, C.uintptr_t(s.Handle()), C.uintptr_t(h.workspace), WorkspaceBytes); rc != 0 {
		c.Free(h.workspace)
		return nil, fmt.Errorf("%s: %w", Library(), check("cublasCreate", rc))
	}
	if C.lt_create(&h.lt) != 0 {
		h.lt = 0
	}
	return h, nil
}

// Destroy gives back the handle and its plans.
func (h *Handle) Destroy() error {
	for _, p := range h.plans {
		C.lt_plan_free(p.plan)
		C.free(unsafe.Pointer(p.plan))
		p.plan = nil
	}
	h.plans = nil
	err := check("cublasDestroy", C.blas_destroy(h.blas))
	if h.lt != 0 {
		err = errors.Join(err, check("cublasLtDestroy", C.lt_destroy(h.lt)))
	}
	return errors.Join(err, h.context.Free(h.workspace))
}

// Plan is a multiplication that is ready to run.
type Plan struct {
	Gemm
	handle *Handle
	plan   *C.struct_plan
	lt     bool // through cublasLt rather than cublasGemmStridedBatchedEx
}

// cublasLt's epilogues for ours. It sees every matrix transposed, and a and b
// in the opposite order: our columns are its rows.
var epilogues = [...]C.int{
	None:          C.epilogue_default,
	Bias:          C.epilogue_bias,
	GeluBias:      C.epilogue_gelu_bias,
	GeluAuxBias:   C.epilogue_gelu_aux_bias,
	DGelu:         C.epilogue_dgelu,
	DGeluBiasGrad: C.epilogue_dgelu_bgrad,
	SumA:          C.epilogue_bgradb,
	SumB:          C.epilogue_bgrada,
}

func dataType(t kernels.DType) C.int {
	if t == kernels.BF16 {
		return C.real_bfloat16
	}
	return C.real_float32
}

func operation(transposed bool) C.int {
	if transposed {
		return C.operation_transpose
	}
	return C.operation_none
}

// Plan prepares a multiplication: the first kernel that cublasLt's heuristic
// names, so the same one each time with the same library and card. It fails
// with ErrUnsupported where there is none. The plan lives as long as the handle.
func (h *Handle) Plan(gemm Gemm) (*Plan, error) { return h.Alternative(gemm, 0) }

// Alternative is Plan with kernel n, from 0, of those that the heuristic names,
// to find out whether its first is the best. Behind the last, it fails with
// ErrUnsupported.
func (h *Handle) Alternative(gemm Gemm, n int) (*Plan, error) {
	g, err := gemm.complete()
	if err != nil {
		return nil, err
	}
	p := &Plan{Gemm: g, handle: h, plan: (*C.struct_plan)(C.calloc(1, C.sizeof_struct_plan))}
	p.plan.s = C.struct_shape{
		m: C.int(g.N), n: C.int(g.M), k: C.int(g.K),
		transa: operation(g.TransB), transb: operation(g.TransA),
		a: dataType(g.B), b: dataType(g.A), d: dataType(g.D), bias: -1,
		lda: C.int64_t(g.LDB), ldb: C.int64_t(g.LDA), ldd: C.int64_t(g.LDD),
		batch: C.int(g.Batch), stridea: C.int64_t(g.StrideB), strideb: C.int64_t(g.StrideA), strided: C.int64_t(g.StrideD),
		alpha: C.float(g.Alpha), beta: C.float(g.Beta),
		epilogue: epilogues[g.Epilogue],
	}
	if g.Epilogue.usesBias() {
		p.plan.s.bias = dataType(g.BiasType)
	}
	if g.Epilogue.usesAux() {
		p.plan.s.has_aux = 1
	}
	rc := C.int(C.status_not_supported)
	if h.lt != 0 {
		rc = C.lt_plan(h.lt, p.plan, WorkspaceBytes, C.int(n))
		p.lt = rc == 0
	}
	if rc != 0 && (g.Epilogue != None || n > 0) {
		C.free(unsafe.Pointer(p.plan))
		// An odd combination is an invalid value to some versions.
		if rc == C.status_not_supported || rc == C.status_invalid_value {
			return nil, fmt.Errorf("gemm %v: %w", g, ErrUnsupported)
		}
		return nil, fmt.Errorf("gemm %v: %w", g, check("cublasLtMatmulAlgoGetHeuristic", rc))
	}
	h.plans = append(h.plans, p)
	return p, nil
}

// Waves is cublasLt's estimate of how often the multiplication's blocks fill
// the card: below 1, some multiprocessors have nothing to do. It is 0 where
// cublasLt does not say.
func (p *Plan) Waves() float64 { return float64(p.plan.waves) }

// Run puts the multiplication into the handle's stream. Addresses are multiples
// of 16; bias and aux are 0 where the epilogue has none. It allocates nothing
// and may be captured.
func (p *Plan) Run(a, b, d, bias, aux driver.Ptr) error {
	h := p.handle
	if !p.lt {
		return check("cublasGemmStridedBatchedEx", C.gemm_run(h.blas, &p.plan.s, C.uintptr_t(b), C.uintptr_t(a), C.uintptr_t(d)))
	}
	return check("cublasLtMatmul", C.lt_run(h.lt, p.plan, C.uintptr_t(b), C.uintptr_t(a), C.uintptr_t(d), C.uintptr_t(bias), C.uintptr_t(aux),
		C.uintptr_t(h.workspace), WorkspaceBytes, C.uintptr_t(h.stream.Handle())))
}
