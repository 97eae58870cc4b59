package models

// deitTiny returns DeiT-T for CIFAR-100 (paper section 4.1): 4x4 patches on 32x32
// images, and any depth.
func deitTiny(depth int) ViT {
	return ViT{Image: 32, Channels: 3, Patch: 4, Width: 192, Depth: depth, Heads: 3,
		MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 100}
}

// vitB returns ViT-B/16 for ImageNet-1K; image is 224 or 384 pixels in the paper.
func vitB(image int) ViT {
	return ViT{Image: image, Channels: 3, Patch: 16, Width: 768, Depth: 12, Heads: 12,
		MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 1000}
}

// vitL returns ViT-L/16 for ImageNet-1K; image is 224 or 384 pixels in the paper.
func vitL(image int) ViT {
	return ViT{Image: image, Channels: 3, Patch: 16, Width: 1024, Depth: 24, Heads: 16,
		MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 1000}
}

// vitH returns ViT-H/14 for ImageNet-1K; image is 224 or 392 pixels in the paper.
// As in the official code it has no qkv bias and the larger epsilon.
func vitH(image int) ViT {
	return ViT{Image: image, Channels: 3, Patch: 14, Width: 1280, Depth: 32, Heads: 16,
		MLPRatio: 4, QKVBias: false, NormEps: 1e-5, Classes: 1000}
}

// vitBDN returns the paper's deep and narrow ViT-B (Table 4), which does not say
// how many heads it has: 12 is our choice.
func vitBDN(image int) ViT {
	return ViT{Image: image, Channels: 3, Patch: 16, Width: 540, Depth: 24, Heads: 12,
		MLPRatio: 4, QKVBias: true, NormEps: 1e-6, Classes: 1000}
}
