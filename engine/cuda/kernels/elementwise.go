package kernels

// GELU is y = x Φ(x) with the exact Gaussian CDF over n elements; y may be x.
// With a bias [width] float32 it is of x + bias, where width divides n; without,
// width is ignored.
func GELU(t DType, n, width int, y, x, bias Buffer) Launch {
	return elementwise("gelu", t, n, Ptr(y), Ptr(x), Ptr(bias), I64(n), I32(max(1, width)))
}

// GELUBackward is dx = dy gelu'(x), or gelu'(x + bias); dx may be x or dy.
func GELUBackward(t DType, n, width int, dx, x, bias, dy Buffer) Launch {
	return elementwise("gelu_backward", t, n, Ptr(dx), Ptr(x), Ptr(bias), Ptr(dy), I64(n), I32(max(1, width)))
}

// AddBias is y = x + bias [width] float32 over n elements, where width divides
// n; y may be x.
func AddBias(t DType, n, width int, y, x, bias Buffer) Launch {
	return elementwise("add_bias", t, n, Ptr(y), Ptr(x), Ptr(bias), I64(n), I32(width))
}

// Add is y = a + b over n elements; y may be a or b.
func Add(t DType, n int, y, a, b Buffer) Launch {
	return elementwise("add", t, n, Ptr(y), Ptr(a), Ptr(b), I64(n))
}

// Residual is y = x + scale[sample] f over samples of size elements; y may be x
// or f. Scale is [samples] float32; without it, y = x + f.
func Residual(t DType, samples, size int, y, x, f, scale Buffer) Launch {
	return elementwise("residual", t, samples*size, Ptr(y), Ptr(x), Ptr(f), Ptr(scale), I64(samples*size), I32(size))
}

// ScaleSamples is y = scale[sample] x over samples of size elements; y may be x.
func ScaleSamples(t DType, samples, size int, y, x, scale Buffer) Launch {
	return elementwise("scale_samples", t, samples*size, Ptr(y), Ptr(x), Ptr(scale), I64(samples*size), I32(size))
}

// CastToBF16 is y [n] bfloat16 = x [n] float32.
func CastToBF16(n int, y, x Buffer) Launch {
	return elementwise("cast_from", F32, n, Ptr(y), Ptr(x), I64(n))
}

// Accumulate is y += x with y [n] float32 and x [n] of t.
func Accumulate(t DType, n int, y, x Buffer) Launch {
	return elementwise("accumulate", t, n, Ptr(y), Ptr(x), I64(n))
}

// elementwise launches a kernel whose threads take 8 elements each.
func elementwise(kernel string, t DType, n int, args ...Arg) Launch {
	const threads = 256
	return launch(kernel, t, ceil(n, 8*threads), threads, args...)
}
