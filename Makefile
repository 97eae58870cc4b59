# `go build` alone builds hatchery. The targets here are for GPU support and for checks.

# gpu builds hatchery with GPU support. It needs Go and a C compiler, but no CUDA
# toolkit. The binary also runs on machines without a GPU. With TAGS=gpu,turbojpeg it
# decodes JPEG files with libturbojpeg.
TAGS = gpu
gpu: export CGO_ENABLED = 1
gpu: export CGO_CFLAGS = -O2 -g -I$(CURDIR)/engine/cuda/driver/include
gpu:
	go build -tags $(TAGS) -o hatchery .
	@! readelf -d hatchery | grep -E 'NEEDED.*(libcuda|libcublas|libnvidia)' || \
		{ echo "hatchery must not need NVIDIA's libraries to start"; rm hatchery; exit 1; }

# test runs every test that needs only Go. test-gpu runs the tests of the GPU engine on
# the CPU, with an emulation that needs g++; it runs those of the small packages a second
# time, with threads and copies in the opposite order. If HATCHERY_CUDA_HEADERS is the
# folder that engine/cuda/headers/fetch writes, the tests also compare our declarations
# with NVIDIA's headers and assemble the kernels.
test:
	go test ./...

test-gpu: export CGO_ENABLED = 1
test-gpu: export CGO_CFLAGS = -O2 -g -I$(CURDIR)/engine/cuda/driver/include
test-gpu:
	go vet -tags gpu ./...
	go test -tags gpu ./engine/cuda/... ./tui/cli
	go test -tags gpu -run OnGPUs ./engine/pipeline
	HATCHERY_EMULATION_ORDER=backward go test -tags gpu ./engine/cuda/driver ./engine/cuda/blas ./engine/cuda/emulation ./engine/cuda/kernels

# bench runs every benchmark for BENCHTIME, a duration or a count such as 1x.
BENCHTIME = 1s
bench: export CGO_ENABLED = 1
bench: export CGO_CFLAGS = -O2 -g -I$(CURDIR)/engine/cuda/driver/include
bench:
	go test -tags $(TAGS) -run '^$$' -bench . -benchtime $(BENCHTIME) $$(git grep -l '^func Benchmark' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's,^,./,')

# lint runs golangci-lint in the version that .ci/lint pins.
lint:
	.ci/lint

# fuzz runs every fuzz target, including those of the GPU engine, for the duration FOR.
# kills kills training runs, makes their system calls fail, and compares the weights.
FOR = 60s
fuzz: export CGO_ENABLED = 1
fuzz: export CGO_CFLAGS = -O2 -g -I$(CURDIR)/engine/cuda/driver/include
fuzz:
	.ci/fuzz $(FOR) -tags $(TAGS)

kills:
	python3 engine/launch/kills

.PHONY: gpu test test-gpu bench lint fuzz kills
