#!/bin/sh
# Compiles the kernels to PTX and notes what it was made from. The compiler is
# nvcc 11.8 (Debian: nvidia-cuda-toolkit), so that every machine writes the same
# bytes; compute_80 is the oldest card that is supported, and the driver compiles
# for newer ones from it.
set -eu
cd "$(dirname "$0")"
nvcc=${NVCC:-nvcc}
"$nvcc" --version | grep -q 'release 11\.8' || { echo "$0: kernels.ptx is made with nvcc 11.8; point NVCC to it" >&2; exit 1; }
"$nvcc" -ptx -arch=compute_80 -O3 -o kernels.ptx.new all.cu
# Comments, indentation and empty lines are a quarter of it.
sed -e 's,//.*,,' -e 's/[[:space:]]*$//' -e 's/^[[:space:]]*//' -e '/^$/d' kernels.ptx.new >kernels.ptx
rm kernels.ptx.new
sha256sum -- *.cu *.cuh kernels.ptx >kernels.sum.new
mv kernels.sum.new kernels.sum
