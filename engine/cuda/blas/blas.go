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
	"slices"
	"strconv"
	"unsafe"

	"hatchery/engine/cuda/driver"
	"hatchery/engine/cuda/kernels"
)

// ErrUnsupported is the error of Plan if the library has no kernel for a multiplication with
// its epilogue. The caller can multiply without the epilogue and compute that separately.
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

// WorkspaceBytes is the size of a Handle's workspace in device memory, as NVIDIA recommends
// for Hopper.
const WorkspaceBytes = 32 << 20

// Handle multiplies in one stream. It has its own workspace, so that results do not depend on
// other streams.
type Handle struct {
	context   *driver.Context
	stream    *driver.Stream
	workspace driver.Ptr
	blas, lt  C.handle // lt is 0 if cublasLt does not work
	plans     []*Plan
}

// New makes a handle for a stream. It allocates memory, so it must not be called during a
// capture. Destroy releases the handle.
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

// Destroy releases the handle and its plans.
func (h *Handle) Destroy() error {
	for _, p := range h.plans {
		p.free()
	}
	h.plans = nil
	err := check("cublasDestroy", C.blas_destroy(h.blas))
	if h.lt != 0 {
		err = errors.Join(err, check("cublasLtDestroy", C.lt_destroy(h.lt)))
	}
	return errors.Join(err, h.context.Free(h.workspace))
}

// Plan is a prepared multiplication.
type Plan struct {
	Gemm
	handle *Handle
	plan   *C.struct_plan
	lt     bool // uses cublasLt, not cublasGemmStridedBatchedEx
}

// epilogues maps our epilogues to cublasLt's. For cublasLt every matrix is transposed, and a
// and b are swapped: our columns are its rows.
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

// Algorithm is one of cublasLt's algorithms for a multiplication, a cublasLtMatmulAlgo_t. It
// is valid for one version of the library and one kind of card. The zero Algorithm lets the
// library choose.
type Algorithm [8]uint64

// MarshalText writes the algorithm as 128 hexadecimal digits, the zero one as "".
func (a Algorithm) MarshalText() ([]byte, error) {
	if a == (Algorithm{}) {
		return nil, nil
	}
	var text []byte
	for _, word := range a {
		text = fmt.Appendf(text, "%016x", word)
	}
	return text, nil
}

// UnmarshalText reads what MarshalText writes.
func (a *Algorithm) UnmarshalText(text []byte) error {
	*a = Algorithm{}
	if len(text) == 0 {
		return nil
	}
	if len(text) != 16*len(a) {
		return fmt.Errorf("an algorithm of %d hexadecimal digits, it should have %d", len(text), 16*len(a))
	}
	for i := range a {
		var err error
		if a[i], err = strconv.ParseUint(string(text[16*i:][:16]), 16, 64); err != nil {
			return fmt.Errorf("an algorithm: %w", err)
		}
	}
	return nil
}

// Algorithms returns the algorithms that cublasLt's heuristic lists for a multiplication, its
// best guess first. The list is always the same for the same library and card. The error is
// ErrUnsupported if there are none. If cublasLt does not work at all, the list is one zero
// Algorithm.
func (h *Handle) Algorithms(gemm Gemm) ([]Algorithm, error) {
	p, err := h.describe(gemm, h.lt != 0)
	if err != nil {
		return nil, err
	}
	defer p.free()
	if !p.lt {
		return []Algorithm{{}}, nil
	}
	var all [C.max_algorithms]Algorithm
	var n C.int
	if rc := C.lt_heuristic(h.lt, p.plan, WorkspaceBytes, (*C.uint64_t)(&all[0][0]), C.max_algorithms, &n); rc != 0 {
		return nil, unsupported("cublasLtMatmulAlgoGetHeuristic", p.Gemm, rc)
	}
	return slices.Clone(all[:n]), nil
}

// Plan prepares a multiplication with the first of Algorithms. If there is none and the
// multiplication has no epilogue, Plan uses cuBLAS. Otherwise the error is ErrUnsupported.
// The plan is valid as long as the handle.
func (h *Handle) Plan(gemm Gemm) (*Plan, error) {
	all, err := h.Algorithms(gemm)
	if errors.Is(err, ErrUnsupported) && gemm.Epilogue == None {
		p, err := h.describe(gemm, false)
		if err != nil {
			return nil, err
		}
		h.plans = append(h.plans, p)
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	return h.PlanWith(gemm, all[0])
}

// PlanWith is like Plan, with a given algorithm, which Algorithms must list or Has must
// accept.
func (h *Handle) PlanWith(gemm Gemm, a Algorithm) (*Plan, error) {
	if a == (Algorithm{}) && h.lt != 0 {
		return h.Plan(gemm)
	}
	p, err := h.describe(gemm, h.lt != 0)
	if err != nil {
		return nil, err
	}
	p.use(a)
	h.plans = append(h.plans, p)
	return p, nil
}

// Has reports whether the library can compute a multiplication with an algorithm, which may
// come from another version or another card.
func (h *Handle) Has(gemm Gemm, a Algorithm) bool {
	all, err := h.Algorithms(gemm)
	switch {
	case errors.Is(err, ErrUnsupported):
		return a == (Algorithm{}) && gemm.Epilogue == None
	case err != nil:
		return false
	case slices.Contains(all, a):
		return true
	}
	p, err := h.describe(gemm, h.lt != 0)
	if err != nil || !p.lt {
		return false
	}
	defer p.free()
	p.use(a)
	return C.lt_check(h.lt, p.plan, WorkspaceBytes) == 0
}

// unsupported returns the error of a call that checks what the library supports. Some
// versions report an unsupported combination as an invalid value.
func unsupported(call string, g Gemm, rc C.int) error {
	if rc == C.status_not_supported || rc == C.status_invalid_value {
		return fmt.Errorf("gemm %v: %w", g, ErrUnsupported)
	}
	return fmt.Errorf("gemm %v: %w", g, check(call, rc))
}

// describe makes the plan of a multiplication without an algorithm, for cublasLt or for
// cuBLAS, which has no epilogues.
func (h *Handle) describe(gemm Gemm, lt bool) (*Plan, error) {
	g, err := gemm.complete()
	if err != nil {
		return nil, err
	}
	p := &Plan{Gemm: g, handle: h, plan: (*C.struct_plan)(C.calloc(1, C.sizeof_struct_plan)), lt: lt}
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
	if !p.lt && g.Epilogue != None {
		p.free()
		return nil, fmt.Errorf("gemm %v: %w", g, ErrUnsupported)
	}
	if p.lt {
		if rc := C.lt_describe(p.plan, WorkspaceBytes); rc != 0 {
			p.free()
			return nil, unsupported("cublasLtMatmulDescCreate", g, rc)
		}
	}
	return p, nil
}

// use sets the plan's algorithm.
func (p *Plan) use(a Algorithm) {
	for i, word := range a {
		p.plan.algorithm[i] = C.uint64_t(word)
	}
}

// free releases the plan.
func (p *Plan) free() {
	C.lt_plan_free(p.plan)
	C.free(unsafe.Pointer(p.plan))
	p.plan = nil
}

// Algorithm returns the algorithm of the plan, or zero if cuBLAS chooses it.
func (p *Plan) Algorithm() (a Algorithm) {
	if p.lt {
		for i := range a {
			a[i] = uint64(p.plan.algorithm[i])
		}
	}
	return a
}

// Run puts the multiplication into the handle's stream. Addresses are multiples
// of 256; bias and aux are 0 if the epilogue does not use them. It allocates nothing
// and may be captured.
func (p *Plan) Run(a, b, d, bias, aux driver.Ptr) error {
	h := p.handle
	if !p.lt {
		return check("cublasGemmStridedBatchedEx", C.gemm_run(h.blas, &p.plan.s, C.uintptr_t(b), C.uintptr_t(a), C.uintptr_t(d)))
	}
	return check("cublasLtMatmul", C.lt_run(h.lt, p.plan, C.uintptr_t(b), C.uintptr_t(a), C.uintptr_t(d), C.uintptr_t(bias), C.uintptr_t(aux),
		C.uintptr_t(h.workspace), WorkspaceBytes, C.uintptr_t(h.stream.Handle())))
}
