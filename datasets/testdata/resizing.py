"""Writes resizing.json.gz: pictures that torchvision resized for evaluation, and
statistics of its random resized crops.

    python3 datasets/testdata/resizing.py   (needs torch, torchvision and Pillow)
"""
import base64
import gzip
import json
import math
import pathlib
import random

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

DRAWS = 20_000


def picture(width, height, channels):
    """Ramps with a pattern and noise on them."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    noise = np.random.default_rng(width * height).normal(0, 12, (height, width, channels))
    a = 128 + 60 * np.sin(x / (3 + c)) + 50 * np.cos(y / 5 - c) + noise
    a = np.clip(a, 0, 255).astype(np.uint8)
    return Image.fromarray(a[..., 0] if channels == 1 else a)


def packed(image):
    a = np.asarray(image)
    return {"Width": a.shape[1], "Height": a.shape[0], "Channels": 1 if a.ndim == 2 else 3, "Pix": base64.b64encode(a.tobytes()).decode()}


evaluation = []
for width, height, channels, size in ((50, 37, 3, 24), (37, 50, 3, 24), (31, 31, 3, 20), (20, 20, 3, 32), (90, 21, 3, 16), (28, 28, 1, 21), (24, 31, 3, 21)):
    p = picture(width, height, channels)
    change = transforms.Compose(
        [transforms.Resize(int((256 / 224) * size), interpolation=InterpolationMode.BICUBIC), transforms.CenterCrop(size)]
    )
    evaluation.append({"Picture": packed(p), "Size": size, "Result": packed(change(p))})

crops = []
torch.manual_seed(1)
random.seed(1)
for width, height in ((500, 375), (30, 40), (300, 100), (90, 400)):
    p = Image.new("L", (width, height))
    sums = np.zeros(8)
    for _ in range(DRAWS):
        y, x, h, w = transforms.RandomResizedCrop.get_params(p, (0.08, 1.0), (3 / 4, 4 / 3))
        area, aspect = w * h / (width * height), math.log(w / h)
        middle_x, middle_y = (x + w / 2) / width, (y + h / 2) / height
        sums += (area, area**2, aspect, aspect**2, middle_x, middle_x**2, middle_y, middle_y**2)
    crops.append({"Width": width, "Height": height, "Means": (sums / DRAWS).tolist()})

path = pathlib.Path(__file__).parent / "resizing.json.gz"
path.write_bytes(gzip.compress(json.dumps({"Evaluation": evaluation, "Crops": crops}).encode(), 9, mtime=0))
print(path.stat().st_size, "bytes")
