"""Writes mixing.json: results of timm's Mixup (batch mode) for given random numbers,
called for each group of a batch as the official code calls it for each GPU and pass.

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
for name, classes, labels, smoothing, group, draws in [
    ("mixup", 5, [0, 3, 3, 4], 0.1, 4, [(0.3, None)]),
    ("mixup of one class", 3, [1, 2, 2, 1], 0.1, 4, [(0.8123, None)]),
    ("mixup without smoothing", 10, [9, 0], 0.0, 2, [(0.123456789, None)]),
    ("cutmix", 5, [0, 3, 1, 4], 0.1, 4, [(0.4, (2, 2))]),
    ("cutmix at the border", 7, [0, 6, 6, 5], 0.2, 4, [(0.25, (0, 3))]),
    ("not mixed", 5, [0, 3, 3, 4], 0.1, 4, [(1.0, None)]),
    ("groups", 5, [0, 3, 1, 4, 2, 2, 0, 1], 0.1, 2, [(0.3, None), (0.4, (2, 2)), (1.0, None), (0.9, None)]),
    ("groups, the last smaller", 5, [0, 3, 1, 4, 2, 3], 0.1, 4, [(0.4, (1, 3)), (0.7, None)]),
]:
    shape = (len(labels), 2, 5, 4)
    x = torch.tensor(rng.normal(size=shape), dtype=torch.float32)
    before = x.clone()
    mixed, targets = [], []
    for (lam, centre), images, classes_of in zip(draws, x.split(group), torch.tensor(labels).split(group), strict=True):
        mix = Mixup(mixup_alpha=0.0 if centre else 0.8, cutmix_alpha=1.0 if centre else 0.0,
                    label_smoothing=smoothing, num_classes=classes)
        with mock.patch("numpy.random.rand", fixed([0.0])), mock.patch("numpy.random.beta", fixed([lam])), \
                mock.patch("numpy.random.randint", fixed(centre or [])):
            after, target = mix(images, classes_of)
        mixed.append(after)
        targets.append(target)
    batches.append(dict(name=name, shape=shape, classes=classes, labels=labels, smoothing=smoothing, group=group,
                        draws=[dict(lam=lam, centre=centre) for lam, centre in draws],
                        images=before.flatten().tolist(), mixed=torch.cat(mixed).flatten().tolist(),
                        targets=torch.cat(targets).flatten().tolist()))

print("{\"boxes\": [")
print(",\n".join(json.dumps(b) for b in boxes))
print("], \"batches\": [")
print(",\n".join(json.dumps(b) for b in batches))
print("]}")
