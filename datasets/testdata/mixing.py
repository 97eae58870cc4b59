"""Writes mixing.json: what timm's Mixup (batch mode) gives when its random numbers are these.

    python mixing.py > mixing.json        (timm and torch installed)
"""
import json
from unittest import mock

import numpy as np
import torch
from timm.data.mixup import Mixup, cutmix_bbox_and_lam


def fixed(values):
    values = iter(values)
    return lambda *args, **kwargs: next(values)


boxes = []
for h, w in [(28, 28), (32, 32), (5, 7)]:
    for lam in [0.0, 0.03, 0.3, 0.5, 0.77, 0.999, 1.0]:
        for y, x in [(0, 0), (h - 1, w - 1), (h // 2, w // 2), (1, w - 2)]:
            with mock.patch("numpy.random.randint", fixed([y, x])):
                (y0, y1, x0, x1), corrected = cutmix_bbox_and_lam((4, 1, h, w), lam)
            boxes.append(dict(h=h, w=w, lam=lam, y=y, x=x, box=[int(v) for v in (y0, y1, x0, x1)],
                              corrected=float(corrected)))

batches = []
rng = np.random.default_rng(7)
for name, classes, labels, lam, centre, smoothing in [
    ("mixup", 5, [0, 3, 3, 4], 0.3, None, 0.1),
    ("mixup of one class", 3, [1, 2, 2, 1], 0.8123, None, 0.1),
    ("mixup without smoothing", 10, [9, 0], 0.123456789, None, 0.0),
    ("cutmix", 5, [0, 3, 1, 4], 0.4, (2, 2), 0.1),
    ("cutmix at the border", 7, [0, 6, 6, 5], 0.25, (0, 3), 0.2),
    ("not mixed", 5, [0, 3, 3, 4], 1.0, None, 0.1),
]:
    shape = (len(labels), 2, 5, 4)
    x = torch.tensor(rng.normal(size=shape), dtype=torch.float32)
    before = x.clone()
    mix = Mixup(mixup_alpha=0.0 if centre else 0.8, cutmix_alpha=1.0 if centre else 0.0,
                label_smoothing=smoothing, num_classes=classes)
    with mock.patch("numpy.random.rand", fixed([0.0])), mock.patch("numpy.random.beta", fixed([lam])), \
            mock.patch("numpy.random.randint", fixed(centre or [])):
        after, targets = mix(x, torch.tensor(labels))
    batches.append(dict(name=name, shape=shape, classes=classes, labels=labels, lam=lam, centre=centre,
                        smoothing=smoothing, images=before.flatten().tolist(), mixed=after.flatten().tolist(),
                        targets=targets.flatten().tolist()))

print("{\"boxes\": [")
print(",\n".join(json.dumps(b) for b in boxes))
print("], \"batches\": [")
print(",\n".join(json.dumps(b) for b in batches))
print("]}")
