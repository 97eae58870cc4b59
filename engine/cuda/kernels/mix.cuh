// What a batch drew for its images, as patches.go lays it out.
#pragma once
#include "common.cuh"

// Mix is mixup or CutMix of a batch with itself in reverse order.
struct Mix {
	float lambda, rest;
	int cut, y0, y1, x0, x1, unused;
};

// Erase is the box of an image that noise fills.
struct Erase {
	int y0, y1, x0, x1;
	unsigned long long key;
};
