"""Prints the numbers in erase_test.go: statistics of the boxes that timm's
RandomErasing draws for images of 64x48 pixels.

    python3 datasets/testdata/erasing.py   (needs torch and timm)
"""
import random

import timm.data.random_erasing as erasing

H, W, DRAWS = 64, 48, 400_000


class Image:
    """Records the box that is written to."""

    boxes = []

    def __setitem__(self, key, _):
        self.boxes.append(key[1:])


random.seed(1)
erasing._get_pixels = lambda *args, **kwargs: None
erase = erasing.RandomErasing(probability=1, mode="pixel", device="cpu")
for _ in range(DRAWS):
    erase._erase(Image(), 3, H, W, None)
sizes = [(y.stop - y.start, x.stop - x.start) for y, x in Image.boxes]
areas = [h * w / (H * W) for h, w in sizes]
n = len(areas)
print("boxes", n)
print("area", sum(areas) / n)
print("square of the area", sum(a * a for a in areas) / n)
print("share of tall boxes", sum(h > w for h, w in sizes) / n)
