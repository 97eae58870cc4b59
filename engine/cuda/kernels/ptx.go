//go:build gpu

package kernels

import _ "embed"

// PTX is the kernels' code for compute capability 8.0, from which a driver
// compiles for its card.
//
//go:embed kernels.ptx
var PTX []byte
