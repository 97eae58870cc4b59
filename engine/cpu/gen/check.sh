#!/bin/sh
# Generates the assembly kernels anew and fails where they differ from the
# committed ones. Run it from anywhere in the repository.
set -eu
cd "$(git rev-parse --show-toplevel)"
go generate ./engine/cpu/gemm ./engine/cpu/vec
(cd engine/cpu/gen && go vet ./...)
if [ -n "$(git status --porcelain -- 'engine/cpu/*_amd64.s' 'engine/cpu/*stubs_amd64.go')" ]; then
	git diff --stat -- engine/cpu
	echo "engine/cpu: generated kernels differ from their generator; commit what 'go generate ./engine/cpu/...' writes" >&2
	exit 1
fi
