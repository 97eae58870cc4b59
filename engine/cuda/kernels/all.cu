// All kernels as one module: what kernels.ptx is made from.
#include "columnsum.cu"
#include "elementwise.cu"
#include "layernorm.cu"
#include "loss.cu"
#include "optimizer.cu"
#include "patches.cu"
#include "tokens.cu"
