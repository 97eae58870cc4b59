// Mixup and CutMix of a batch with itself reversed, as patches.go lays it out.
#pragma once
#include "common.cuh"

struct Mix {
	float lambda;
	int cut, y0, y1, x0, x1;
};

// Erase is the box of an image that noise fills.
struct Erase {
	unsigned long long key;
	int y0, y1, x0, x1;
};
