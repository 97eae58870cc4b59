// What a batch drew for its images, as patches.go lays it out, and who the
// partner of an image is.
#pragma once
#include "common.cuh"

// Mix is mixup or CutMix of a group of images with itself in reverse order.
struct Mix {
	float lambda, rest;
	int cut, y0, y1, x0, x1, unused;
};

// Erase is the box of an image that noise fills.
struct Erase {
	int y0, y1, x0, x1;
	unsigned long long key;
};

// partner_of is the image that an image of a batch is mixed with, in groups of
// the given size, the last of which may be smaller.
__device__ __forceinline__ int partner_of(int image, int batch, int group) {
	const int first = image - image % group;
	return first + min(group, batch - first) - 1 - (image - first);
}
